"""Every model of every service and node as one list."""

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nebula.errors import NebulaError
from nebula.gpu.drivers.wire import Wire
from nebula.gpu.snapshot import NodeSnapshot, Resident
from nebula.services.folders import ModelKind
from nebula.services.map import ModelSpec, ServiceSpec, Target
from nebula.services.sizes import gigabytes
from tools.models.files import files_told
from tools.models.naming import PART
from tools.models.ollama import OllamaModels
from tools.models.places import Stored, keeps_files, stored_files
from tools.models.schemas import ModelEntry, ModelList

if TYPE_CHECKING:
    from nebula.tool.context import Context

LANGUAGE = "language"


async def list_models(
    ctx: "Context", specs: Iterable[ServiceSpec], kind: str | None = None
) -> ModelList:
    """List the models of some services; one that does not answer becomes a note."""
    chosen = list(specs)
    snapshot = await ctx.parts.broker.snapshot()
    await ctx.parts.leases.tools.pictures.footprints.refresh()
    found = await asyncio.gather(
        *(_of_service(ctx, spec, snapshot.node(spec.node)) for spec in chosen)
    )
    models = [m for entries, _ in found for m in entries if kind in {None, m.kind}]
    notes = [note for _, said in found for note in said]
    return ModelList(models=models, notes=notes)


async def _of_service(
    ctx: "Context", spec: ServiceSpec, node: NodeSnapshot | None
) -> tuple[list[ModelEntry], list[str]]:
    services = ctx.parts.services.map
    residents = [r for r in (node.residents if node else ()) if r.service == spec.name]
    notes: list[str] = []
    entries: list[ModelEntry] = []
    try:
        if services.simulated(spec):
            entries = _simulated(spec)
        elif spec.kind == "ollama":
            entries = await _ollama(ctx, spec)
        elif keeps_files(spec):
            entries, notes = await _files(ctx, spec)
    except NebulaError as error:
        notes.append(_note(spec, error))
    return [_described(ctx, spec, entry, residents) for entry in entries], notes


def _note(spec: ServiceSpec, error: NebulaError) -> str:
    """Say what a service did not tell; most errors name it already."""
    said = str(error)
    return said if spec.name in said else f"{spec.name}: {said}"


def _simulated(spec: ServiceSpec) -> list[ModelEntry]:
    kind = LANGUAGE if spec.kind == "ollama" else ModelKind.CHECKPOINTS.value
    return [
        ModelEntry(name=m.name, kind=kind, service=spec.name, node=spec.node, simulated=True)
        for m in spec.models
    ]


async def _ollama(ctx: "Context", spec: ServiceSpec) -> list[ModelEntry]:
    server = OllamaModels(ctx.http, spec.name, ctx.parts.services.map.address(spec))
    return [
        ModelEntry(
            name=m.name,
            kind=LANGUAGE,
            service=spec.name,
            node=spec.node,
            size_gb=gigabytes(m.size),
            detail=" ".join(w for w in (m.family, m.parameters, m.quantization) if w),
        )
        for m in await server.installed()
    ]


async def _files(ctx: "Context", spec: ServiceSpec) -> tuple[list[ModelEntry], list[str]]:
    """Join what lies on the disk with what the service itself tells it has."""
    services = ctx.parts.services.map
    stored, notes = await asyncio.to_thread(stored_files, services, spec)
    entries = [_entry(spec, each) for each in stored]
    # SD WebUI tells some names without their ending.
    known = {(e.kind, form) for e in entries for form in (e.name, e.name.rpartition(".")[0])}
    try:
        told = await files_told(Wire(ctx.http, spec.name, services.address(spec)), spec.kind)
    except NebulaError as error:
        return entries, [*notes, _note(spec, error)]
    entries += [
        ModelEntry(name=name, kind=kind.value, service=spec.name, node=spec.node)
        for kind, names in told.items()
        for name in names
        if (kind.value, name) not in known
    ]
    return entries, notes


def _entry(spec: ServiceSpec, stored: Stored) -> ModelEntry:
    return ModelEntry(
        name=stored.name,
        kind=stored.place.kind.value,
        service=spec.name,
        node=spec.node,
        size_gb=gigabytes(stored.size),
        partial=stored.name.endswith(PART),
    )


def _described(
    ctx: "Context", spec: ServiceSpec, entry: ModelEntry, residents: list[Resident]
) -> ModelEntry:
    """Add whether it is loaded and what it takes on a card."""
    listed = _in_map(spec, entry.name)
    name = listed.name if listed else entry.name.removesuffix(":latest")
    here = next((r for r in residents if r.model in {name, entry.name}), None)
    # A service that names what it holds holds nothing else; ComfyUI names nothing.
    tells = spec.kind == "ollama" or bool(residents and all(r.model for r in residents))
    loaded = True if here else False if tells or not residents else None
    vram, source = _vram(ctx, Target(service=spec.name, model=name), here, known=listed is not None)
    return entry.model_copy(
        update={
            "loaded": None if entry.partial else loaded,
            "vram_gb": gigabytes(vram),
            "vram_source": source,
            "in_map": listed is not None,
        }
    )


def _vram(
    ctx: "Context", target: Target, here: Resident | None, *, known: bool
) -> tuple[int | None, str]:
    """Return what a model takes on a card: what it holds now, else measured, else its budget."""
    if here is not None and here.vram is not None:
        return here.vram, "loaded"
    measured = ctx.parts.leases.tools.pictures.footprints.estimate(target).vram
    if measured is not None:
        return measured, "measured"
    budget = ctx.parts.services.map.footprint(target).vram if known else None
    return budget, "budget" if budget is not None else ""


def _in_map(spec: ServiceSpec, name: str) -> ModelSpec | None:
    """Return the map's entry of a model, by its name or its file."""
    return next(
        (m for m in spec.models if name in {m.name, m.checkpoint, f"{m.name}:latest"}), None
    )


def model_names(spec: ServiceSpec, name: str) -> frozenset[str]:
    """Return every name that leases and cards may know a model by."""
    listed = _in_map(spec, name)
    return frozenset({name, name.removesuffix(":latest"), *([listed.name] if listed else [])})
