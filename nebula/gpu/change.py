"""Carries out one plan on one node: wait, unload, see that memory came free, load.

A failure half-way leaves what it left; its error tells what was done before and the way back.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from nebula.auth.principal import ProgressSink
from nebula.errors import Conflict, NebulaError, NotFound, TimedOut, UpstreamRejected
from nebula.gpu.drivers.driver import Driver
from nebula.gpu.observe import Observer
from nebula.gpu.plans import Eviction, SwitchPlan
from nebula.gpu.reports import Evicted, Limits
from nebula.gpu.snapshot import NodeSnapshot
from nebula.services.map import ServiceMap, ServiceSpec, Target
from nebula.services.sizes import MIB, spoken

log = structlog.get_logger()

# Cards round what they report, and drivers keep a little for each process.
_SLACK = 64 * MIB

Look = Callable[[str], Awaitable[NodeSnapshot | None]]


@dataclass
class Change:
    """One plan being carried out; the node's lock is held by whoever made it."""

    plan: SwitchPlan
    services: Callable[[], ServiceMap]
    observer: Observer
    look: Look
    """Takes a fresh snapshot of a node."""
    limits: Limits
    progress: ProgressSink
    evicted: list[Evicted] = field(default_factory=list)
    load_seconds: float = 0.0

    async def run(self, *, force: bool) -> str:
        """Carry the plan out and say in a sentence what is loaded now."""
        try:
            return await self._steps(force=force)
        except NebulaError as error:
            raise await self._explained(error) from error

    async def _steps(self, *, force: bool) -> str:
        if self.plan.waits_for:
            await self._until_idle(force=force)
        for number, eviction in enumerate(self.plan.evicts):
            share = 0.1 + 0.3 * number / len(self.plan.evicts)
            await self.progress(share, f"Unloading {eviction.resident.label}")
            await self._evict(eviction)
        if self.plan.evicts:
            await self._until_free()
        await self.progress(0.4, f"Loading {self.plan.target}")
        begun = time.monotonic()
        said = await self._load(self.plan.target)
        self.load_seconds = time.monotonic() - begun
        await self.progress(1.0, f"{self.plan.target} is ready")
        return said

    def _spec(self, name: str) -> ServiceSpec:
        spec = self.services().service(name)
        if spec is None:
            raise NotFound(f"{name} left the service map meanwhile")
        return spec

    def driver(self, name: str) -> Driver:
        """Return what speaks to a service; raises NotFound when it left the map."""
        return self.observer.driver(self._spec(name))

    async def _until_idle(self, *, force: bool) -> None:
        """Wait for services that work, or stop their work when that was asked for."""
        if force:
            for name in self.plan.waits_for:
                await self.driver(name).interrupt()
            return
        names = " and ".join(self.plan.waits_for)
        await self.progress(0.05, f"Waiting for {names} to finish")
        leaving = {e.resident.target for e in self.plan.evicts}

        def idle(node: NodeSnapshot) -> bool:
            return not any(r.busy for r in node.residents if r.target in leaving)

        if not await self.until(idle, self.limits.busy):
            raise Conflict(
                f"{names} is still working after {self.limits.busy:g} s",
                hint="Try again later, or use force to stop its work.",
            )

    async def _evict(self, eviction: Eviction) -> None:
        """Unload one model and wait until its service no longer lists it."""
        begun = time.monotonic()
        target = eviction.resident.target
        await self.driver(target.service).unload(target.model)
        if not await self.until(without({target}), self.limits.freed):
            raise UpstreamRejected(
                f"{target.service} was asked to unload {eviction.resident.label}, "
                f"but still holds it after {self.limits.freed:g} s",
                hint=f"Restart {target.service}, then try again.",
            )
        self.evicted.append(Evicted(eviction, time.monotonic() - begun))
        log.info("model unloaded", target=str(target), why=eviction.why)

    async def _until_free(self) -> None:
        """See by the card's own figures that memory came free; a service's word is not enough."""
        wanted = (self.plan.needed or 0) + self.plan.reserve
        seen: list[int | None] = [None]

        def freed(node: NodeSnapshot) -> bool:
            card = node.gpu(self.plan.gpu)
            seen[0] = card.vram_free if card else None
            # Without a figure of the card, the services' lists, checked before, must do.
            return seen[0] is None or seen[0] >= wanted - _SLACK

        if not await self.until(freed, self.limits.freed):
            names = " and ".join(dict.fromkeys(e.resident.service for e in self.plan.evicts))
            raise UpstreamRejected(
                f"{names} said that its memory is free, but {spoken(seen[0])} of the "
                f"{spoken(wanted)} needed are free after {self.limits.freed:g} s",
                hint=f"Restart {names}, or see what else runs on the card with gpu_status.",
            )

    async def _load(self, target: Target) -> str:
        spec = self._spec(target.service)
        entry = spec.model(target.model)
        plain = spec.holds_many or self.plan.simulated or entry is None
        # What people call SDXL is a file name to ComfyUI and SD WebUI.
        model = target.model if plain or entry is None else entry.checkpoint
        limit = self.limits.load
        try:
            async with asyncio.timeout(limit):
                return await self.observer.driver(spec).load(model, seconds=limit)
        except TimeoutError as error:
            raise TimedOut(
                f"{target} was not loaded within {limit:g} s",
                hint="It may still be loading: look at gpu_status.",
            ) from error

    async def until(self, reached: Callable[[NodeSnapshot], bool], seconds: float) -> bool:
        """Look at the node until it is as wanted; say whether that came in time."""
        limit = time.monotonic() + seconds
        while True:
            node = await self.look(self.plan.node)
            if node is not None and reached(node):
                return True
            if time.monotonic() >= limit:
                return False
            await asyncio.sleep(self.limits.poll)

    async def _explained(self, error: NebulaError) -> NebulaError:
        """Add to an error what was done before it, what is free now, and what to do next."""
        node = await self.look(self.plan.node)
        card = node.gpu(self.plan.gpu) if node else None
        free = f"{spoken(card.vram_free)} are free now" if card else "The card is not visible now"
        names = [e.eviction.resident.label for e in self.evicted]
        done = f"Unloaded {', '.join(names)} before that" if names else "Nothing was unloaded"
        back = f" Say 'load {names[0]}' to bring {names[0]} back." if names else ""
        message = f"{str(error).rstrip('.')}. {done}. {free}."
        return type(error)(message, hint=f"{error.hint}{back}".strip())


def without(targets: set[Target]) -> Callable[[NodeSnapshot], bool]:
    """Return a test for a node on whose cards none of the targets is."""

    def gone(node: NodeSnapshot) -> bool:
        return targets.isdisjoint({r.target for r in node.residents if r.vram != 0})

    return gone
