"""Downloads a model to where it belongs: into Ollama, or into the right folder of a service."""

import time
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from nebula.errors import InvalidInput, NebulaError, NotFound
from nebula.gpu.drivers.wire import Wire
from nebula.services.folders import ModelKind
from nebula.services.map import ServiceSpec
from nebula.services.sizes import gigabytes, spoken
from tools.models.choosing import Chosen, choose
from tools.models.download import Downloaded, Downloader, Wanted, in_thread
from tools.models.files import refresh
from tools.models.hubs import Hub, hub_of
from tools.models.inventory import LANGUAGE
from tools.models.offer import Offer, OfferedFile
from tools.models.ollama import OllamaModels
from tools.models.part import Checksum
from tools.models.places import Place, make_parents, place_for, services_named
from tools.models.reference import Reference, Source, ollama_name, read_reference
from tools.models.remote import RemotePlace, store
from tools.models.schemas import DownloadReport, StoredFile
from tools.models.settings import ModelsSettings

if TYPE_CHECKING:
    from nebula.tool.context import Context


async def download(
    ctx: "Context",
    model: str,
    *,
    source: Source | None,
    file: str | None,
    kind: ModelKind | None,
    service: str | None,
    node: str | None,
    name: str | None,
) -> DownloadReport:
    """Fetch a model; what is there already is not fetched again, what broke off goes on."""
    reference = read_reference(model, source)
    specs = services_named(ctx.parts.services, service, node)
    if reference.source in {None, Source.OLLAMA}:
        return await _pull(ctx, reference, specs)
    hub = hub_of(ctx, reference.source or Source.HUGGINGFACE)
    await ctx.progress(None, f"Looking {reference.id} up at {hub.hub.name}")
    offer = await hub.show(reference)
    chosen = choose(offer, file or reference.file, kind, name)
    place = place_for(ctx.parts.services, chosen.kind, specs)
    return await _Fetch(ctx, hub, offer, chosen, place).run()


async def _pull(
    ctx: "Context", reference: Reference, specs: Sequence[ServiceSpec]
) -> DownloadReport:
    settings = ctx.settings(ModelsSettings)
    model = ollama_name(reference.id, settings.ollama_registries)
    spec = _one_ollama(ctx, specs)
    server = OllamaModels(ctx.http, spec.name, ctx.parts.services.map.address(spec))
    started = time.monotonic()
    await server.pull(model, settings, ctx.progress)
    there = [m for m in await server.installed() if m.name in {model, f"{model}:latest"}]
    return DownloadReport(
        source=Source.OLLAMA.value,
        model=model,
        service=spec.name,
        node=spec.node,
        kind=LANGUAGE,
        size_gb=gigabytes(there[0].size) if there else None,
        seconds=round(time.monotonic() - started, 1),
    )


def _one_ollama(ctx: "Context", specs: Sequence[ServiceSpec]) -> ServiceSpec:
    services = ctx.parts.services.map
    servers = [s for s in specs if s.kind == "ollama" and not services.simulated(s)]
    if not servers:
        raise NotFound(
            "There is no Ollama server to download into",
            hint="Name a model of Hugging Face as owner/name, or add an Ollama service to the map.",
        )
    own = [s for s in servers if services.address(s) == ctx.parts.services.ollama]
    if len(servers) > 1 and len(own) != 1:
        names = ", ".join(s.name for s in servers)
        raise InvalidInput("There are several Ollama servers", hint=f"Say which: {names}.")
    return own[0] if len(servers) > 1 else servers[0]


class _Fetch:
    """One download from a hub: its files one after the other, as one progress."""

    def __init__(
        self,
        ctx: "Context",
        hub: Hub,
        offer: Offer,
        chosen: Chosen,
        place: Place | RemotePlace,
    ) -> None:
        self._ctx = ctx
        self._hub = hub.hub
        self._offer = offer
        self._chosen = chosen
        self._place = place
        self._downloader = Downloader(ctx.parts.fetch, ctx.settings(ModelsSettings))
        self._total = sum(f.size or 0 for f, _ in chosen.files)
        self._done = 0
        self._now = 0

    async def run(self) -> DownloadReport:
        started = time.monotonic()
        stored: list[StoredFile] = []
        for file, below in self._chosen.files:
            self._now = file.size or 0
            stored.append(await self._stored(file, below))
            self._done += self._now
        offer, place = self._offer, self._place
        return DownloadReport(
            source=offer.source.value,
            model=offer.name or offer.id,
            service=place.service,
            node=place.node,
            kind=place.kind.value,
            files=stored,
            size_gb=gigabytes(sum(f.size or 0 for f, _ in self._chosen.files)) or stored[0].size_gb,
            seconds=round(time.monotonic() - started, 1),
            trained_words=list(offer.trained_words),
            notes=[*self._notes(stored), *await self._shown()],
        )

    async def _shown(self) -> list[str]:
        """Have the service read its folder again; a service that is away does so at its start."""
        services = self._ctx.parts.services.map
        spec = services.service(self._place.service)
        if spec is None:
            return []
        wire = Wire(self._ctx.http, spec.name, services.address(spec))
        try:
            if await refresh(wire, spec.kind, self._place.kind):
                return []
        except NebulaError:
            return [f"{spec.name} does not answer; it shows the file after its start."]
        return [f"{spec.name} shows it after its list of models is refreshed."]

    async def _stored(self, file: OfferedFile, below: PurePosixPath) -> StoredFile:
        """Store one file where it belongs; an address that is gone has another one."""
        try:
            return await self._from(file, below, file.url)
        except NotFound:
            if not file.fallback:
                raise
            return await self._from(file, below, file.fallback)

    async def _from(self, file: OfferedFile, below: PurePosixPath, url: str) -> StoredFile:
        wanted, place = self._wanted(file, url), self._place
        if isinstance(place, RemotePlace):
            return await store(
                self._ctx, self._downloader, place, wanted=wanted, file=file, below=below
            )
        final = place.path(below)
        await in_thread(make_parents, place, final)
        got = await self._downloader.download(wanted, final, self._progress)
        await self._ctx.job_log(_line(got))
        return _stored(place, got)

    def _wanted(self, file: OfferedFile, url: str) -> Wanted:
        # Git's blob id hashes the size as well, so it serves only where the size is exact.
        checksum = Checksum("sha256", file.sha256) if file.sha256 else None
        exact = file.size if self._offer.source is Source.HUGGINGFACE else None
        if checksum is None and file.git and exact is not None:
            checksum = Checksum("git", file.git)
        return Wanted(
            url=url,
            source=self._hub.name,
            size=exact,
            about=file.size,
            checksum=checksum,
            credentials=self._hub.credentials,
            trusted=self._hub.trusted,
            sign_in=self._hub.sign_in,
        )

    async def _progress(self, fraction: float | None, message: str) -> None:
        if fraction is not None and len(self._chosen.files) > 1 and self._total:
            fraction = min(1.0, (self._done + fraction * self._now) / self._total)
        await self._ctx.progress(fraction, message)

    def _notes(self, stored: Sequence[StoredFile]) -> list[str]:
        notes = list(self._chosen.notes)
        if any(not f.verified for f in stored):
            notes.append(
                f"{self._hub.name} announces no checksum for it: only its size is checked."
            )
        return notes


def _line(got: Downloaded) -> str:
    if got.already:
        return f"{got.path.name} was there already"
    went_on = f", of which {spoken(got.resumed)} were there" if got.resumed else ""
    proof = "checksum verified" if got.verified else "no checksum announced"
    return f"{got.path.name}: {spoken(got.size)}{went_on} in {got.seconds:.1f} s, {proof}"


def _stored(place: Place, got: Downloaded) -> StoredFile:
    return StoredFile(
        name=got.path.relative_to(place.folder).as_posix(),
        path=str(got.path),
        size_gb=gigabytes(got.size),
        sha256=got.digest if got.digest and len(got.digest) == 64 else "",
        verified=got.verified,
        already=got.already,
        resumed_gb=gigabytes(got.resumed) or 0.0,
    )
