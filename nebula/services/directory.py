"""The service map in force, reloaded when its files change, and the health of its services."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import httpx
import structlog

from nebula.errors import NebulaError, NotFound
from nebula.services.health import Health, ServiceHealth, check
from nebula.services.map import ServiceMap, Target
from nebula.services.map_file import load_map, map_files
from nebula.services.resolve import all_names, normal, resolve
from nebula.settings import Settings
from nebula.yaml_file import BadFile, Problem

log = structlog.get_logger()

_FRESH_SECONDS = 3.0
_AT_ONCE = 8
_POLL_SECONDS = 1.0
_HEALTH_SECONDS = 15.0
_DEFAULT = Path(__file__).parents[2] / "service-map.yml"

Stamp = tuple[tuple[str, int, int], ...]


class Publisher(Protocol):
    """Where changes of health and map are told; `nebula.events.bus.Events` is one."""

    async def publish(
        self, stream: str, kind: str, data: dict[str, object], owner: str | None = None
    ) -> int:
        """Append an event to a stream and return its number."""
        ...


class ServiceDirectory:
    """Knows the services: `map` is the last good map, `problems` what is wrong with a newer one."""

    def __init__(
        self,
        path: Path,
        http: httpx.AsyncClient,
        events: Publisher | None,
        *,
        variables: dict[str, str],
        nvidia: Callable[[], bool],
    ) -> None:
        """Take the map's file, and `nvidia`, which says whether this machine has such a card."""
        self.path = path
        self.map = ServiceMap()
        self.problems: tuple[Problem, ...] = ()
        self._http = http
        self._events = events
        self._variables = variables
        self._nvidia = nvidia
        self._stamp: Stamp = ()
        self._loaded = False
        self._known: dict[str, tuple[float, ServiceHealth]] = {}
        self._checks: dict[str, asyncio.Task[ServiceHealth]] = {}
        self._limit = asyncio.Semaphore(_AT_ONCE)

    @property
    def ollama(self) -> str:
        """Return the address of the Ollama that Jarvis itself thinks with."""
        return self._variables.get("OLLAMA_HOST", "")

    async def refresh(self) -> bool:
        """Read the map again when a file of it changed; say whether the map in force changed.

        A map with mistakes is not taken: `problems` names them, and the last good one stays.
        """
        stamp = await asyncio.to_thread(_stamp, self.path)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            fresh, notes = await asyncio.to_thread(self._load)
        except BadFile as bad:
            self.problems = bad.problems
            log.warning("service map not taken", problems=[str(p) for p in bad.problems])
            await self._publish(
                "services.map_rejected", {"problems": [str(p) for p in bad.problems]}
            )
            return False
        self.problems = notes
        self._loaded = self._loaded or self.path.exists()
        changed = fresh != self.map
        self.map = fresh
        if changed:
            self._known.clear()
            await self._publish(
                "services.map_changed", {"services": [s.name for s in fresh.services]}
            )
        return changed

    def _load(self) -> tuple[ServiceMap, tuple[Problem, ...]]:
        """Read the operator's map; before there is one, the map that comes with the program."""
        if self.path.exists() or self._loaded:
            return load_map(self.path, self._variables, nvidia=self._nvidia()), ()
        notes: tuple[Problem, ...] = ()
        if self.path != Path("service-map.yml"):
            said = "there is no such file; the map that comes with the program is in force"
            notes = (Problem(file=str(self.path), line=1, message=said),)
        return load_map(_DEFAULT, self._variables, nvidia=self._nvidia()), notes

    def names(self) -> list[str]:
        """Return every name and alias of services and their models, for slots and help."""
        return all_names(self.map)

    def find(self, text: str) -> frozenset[str]:
        """Return the services a name may mean, those without a GPU too; raises NotFound."""
        exact = [s.name for s in self.map.services if s.name.casefold() == text.strip().casefold()]
        shared = [s.name for s in self.map.services if normal(text) in map(normal, s.aliases)]
        if exact or shared:
            return frozenset(exact + shared)
        return frozenset(target.service for target in self.resolve(text))

    def resolve(self, text: str, node: str | None = None) -> tuple[Target, ...]:
        """Return what a name may mean; raises NotFound with suggestions."""
        return resolve(self.map, text, node)

    async def health(
        self, name: str | None = None, *, fresh: bool = False
    ) -> Sequence[ServiceHealth]:
        """Return the health of one service or all, at most a few seconds old.

        Raises:
            NotFound: when no service has that name.
        """
        wanted = [s for s in self.map.services if name in {None, s.name}]
        if name is not None and not wanted:
            known = ", ".join(s.name for s in self.map.services) or "none"
            raise NotFound(f"There is no service {name!r}", hint=f"Services: {known}.")
        return await asyncio.gather(*(self._health_of(s.name, fresh=fresh) for s in wanted))

    async def _health_of(self, name: str, *, fresh: bool) -> ServiceHealth:
        at, known = self._known.get(name, (0.0, None))
        if known is not None and not fresh and time.monotonic() - at < _FRESH_SECONDS:
            return known
        # Whoever asks while a check runs waits for that one; a caller that gives up spoils nothing.
        task = self._checks.get(name)
        if task is None:
            task = asyncio.create_task(self._check(name))
            self._checks[name] = task
            task.add_done_callback(lambda _: self._checks.pop(name, None))
        return await asyncio.shield(task)

    async def _check(self, name: str) -> ServiceHealth:
        service = self.map.service(name)
        if service is None:
            raise NotFound(f"There is no service {name!r} any more")
        async with self._limit:
            now = await check(self._http, self.map, service)
        _, before = self._known.get(name, (0.0, None))
        self._known[name] = (time.monotonic(), now)
        if before is not None and before.state != now.state:
            await self._tell(before.state, now)
        return now

    async def _tell(self, before: Health, now: ServiceHealth) -> None:
        log.info("service health changed", service=now.name, before=before, now=now.state)
        data: dict[str, object] = {
            "service": now.name,
            "node": now.node,
            "before": before.value,
            "now": now.state.value,
            "reason": now.reason,
            "simulated": now.simulated,
        }
        await self._publish("services.health_changed", data)

    async def _publish(self, kind: str, data: dict[str, object]) -> None:
        if self._events is None:
            return
        try:
            await self._events.publish("services", kind, data)
        except NebulaError as error:
            log.warning("service event not stored", kind=kind, error=str(error))

    async def watch(self) -> None:
        """Follow the map's files and the services' health until cancelled."""
        checked = 0.0
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            await self.refresh()
            if time.monotonic() - checked >= _HEALTH_SECONDS:
                checked = time.monotonic()
                await asyncio.gather(
                    *(self._health_of(s.name, fresh=True) for s in self.map.services),
                    return_exceptions=True,
                )

    async def close(self) -> None:
        """Stop the checks that still run."""
        tasks = list(self._checks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _stamp(path: Path) -> Stamp:
    """Return what changes whenever a file of the map does."""
    found = []
    for file in map_files(path):
        try:
            stat = file.stat()
        except OSError:
            found.append((str(file), 0, 0))
        else:
            found.append((str(file), stat.st_mtime_ns, stat.st_size))
    return tuple(found)


def ollama_url(host: str) -> str:
    """Read OLLAMA_HOST the way Ollama does: the scheme and port may be left out."""
    text = host.strip() or "127.0.0.1"
    bare = "://" not in text
    try:
        parts = urlsplit(f"http://{text}" if bare else text)
        port = parts.port or (11434 if bare else None)
    except ValueError:
        return text  # the map's check says what is wrong with it
    name = parts.hostname or "127.0.0.1"
    # 0.0.0.0 is an address to bind to, not one to call.
    name = "127.0.0.1" if name == "0.0.0.0" else name  # noqa: S104
    name = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{name}" + (f":{port}" if port else "") + parts.path.rstrip("/")


@asynccontextmanager
async def open_directory(
    settings: Settings,
    http: httpx.AsyncClient,
    events: Publisher | None,
    *,
    nvidia: Callable[[], bool],
    watch: bool = True,
) -> AsyncIterator[ServiceDirectory]:
    """Read the service map and keep it and the services' health current until the end."""
    variables = {"OLLAMA_HOST": ollama_url(settings.ollama_host)}
    directory = ServiceDirectory(
        settings.service_map, http, events, variables=variables, nvidia=nvidia
    )
    await directory.refresh()
    watcher = asyncio.create_task(directory.watch()) if watch else None
    try:
        yield directory
    finally:
        if watcher is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        await directory.close()
