"""Loads and unloads models through their drivers, and sees by measurement what came of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from nebula.errors import NotFound, TimedOut
from nebula.gpu.drivers.driver import Driver
from nebula.gpu.observe import Observer
from nebula.gpu.reports import Limits
from nebula.gpu.snapshot import GpuReading, NodeSnapshot
from nebula.services.map import ServiceMap, ServiceSpec, Target
from nebula.services.sizes import MIB

# Cards round what they report, and drivers keep a little for each process.
SLACK = 64 * MIB
_FIRST_POLL = 0.01

Look = Callable[[str], Awaitable[NodeSnapshot | None]]


class Hands:
    """What moves models; nothing here knows of plans or of the ledger."""

    def __init__(
        self, services: Callable[[], ServiceMap], observer: Observer, limits: Limits
    ) -> None:
        """Take the map in force, what looks at cards and services, and the time limits."""
        self._services = services
        self._observer = observer
        self.limits = limits

    def spec(self, name: str) -> ServiceSpec:
        """Return a service's entry; raises NotFound when it left the map."""
        spec = self._services().service(name)
        if spec is None:
            raise NotFound(f"{name} left the service map meanwhile")
        return spec

    def driver(self, name: str) -> Driver:
        """Return what speaks to a service; raises NotFound when it left the map."""
        return self._observer.driver(self.spec(name))

    async def look(self, node: str) -> NodeSnapshot | None:
        """Look at a node now, as its cards and services say."""
        spec = self._services().node(node)
        if spec is None:
            return None
        return await self._observer.node(spec, {}, frozenset(), fresh=True)

    def away(self, seen: NodeSnapshot) -> bool:
        """Say whether a node's figures are missing only because its agent does not answer."""
        spec = self._services().node(seen.name)
        return spec is not None and spec.agent and bool(seen.problem)

    async def cards(self, node: str) -> tuple[GpuReading, ...]:
        """Read only the cards of a node, without asking its services."""
        spec = self._services().node(node)
        return () if spec is None else (await self._observer.cards(spec))[0]

    async def load(self, target: Target) -> str:
        """Load a model and say in a sentence what was done.

        Raises:
            NebulaError: as the service says; TimedOut when it takes too long.
        """
        spec = self.spec(target.service)
        entry = spec.model(target.model)
        plain = spec.holds_many or self._services().simulated(spec) or entry is None
        # What people call SDXL is a file name to ComfyUI and SD WebUI.
        model = target.model if plain or entry is None else entry.checkpoint
        limit = self.limits.load
        try:
            async with asyncio.timeout(limit):
                return await self._observer.driver(spec).load(model, seconds=limit)
        except TimeoutError as error:
            raise TimedOut(
                f"{target} was not loaded within {limit:g} s",
                hint="It may still be loading: look at gpu_status.",
            ) from error

    async def until(
        self, node: str, look: Look, reached: Callable[[NodeSnapshot], bool], seconds: float
    ) -> bool:
        """Look at a node until it is as wanted, often at first; say whether that came in time."""
        limit = time.monotonic() + seconds
        pause = min(_FIRST_POLL, self.limits.poll)
        while True:
            seen = await look(node)
            if seen is not None and reached(seen):
                return True
            if time.monotonic() >= limit:
                return False
            await asyncio.sleep(pause)
            pause = min(self.limits.poll, pause * 2)


def without(targets: set[Target]) -> Callable[[NodeSnapshot], bool]:
    """Return a test for a node on whose cards none of the targets is."""

    def gone(node: NodeSnapshot) -> bool:
        return targets.isdisjoint({r.target for r in node.residents if r.vram != 0})

    return gone


def foreign(node: NodeSnapshot, gpu: int, promised: int = 0, *, before: int = 0) -> int | None:
    """Return the bytes of a card that nothing of ours accounts for; None when unknown.

    `promised` are the bytes of leases on bare memory: what their work holds is counted by them,
    and only what it holds beyond that, or what was foreign `before`, is counted here.
    """
    card = node.gpu(gpu)
    if card is None or card.vram_used is None:
        return None
    rest = max(0, card.vram_used - sum(r.vram or 0 for r in node.residents if r.gpu == gpu))
    named = sum(p.vram or 0 for p in card.processes if p.foreign)
    work = [p.vram for p in card.processes if p.task is not None]
    if card.processes and None not in work:
        rest -= min(sum(v for v in work if v is not None), promised)
    elif rest > before:
        # The driver does not tell what a process holds: the promise stands for what came since.
        rest = max(before, rest - promised)
    return max(named, rest)
