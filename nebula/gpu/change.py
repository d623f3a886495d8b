"""Carries out one plan on one node: wait, unload, see that memory came free, load.

A failure half-way leaves what it left; its error tells what was done before and the way back.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from nebula.auth.principal import ProgressSink
from nebula.errors import Conflict, NebulaError, UpstreamRejected
from nebula.gpu.hands import SLACK, Hands, Look, without
from nebula.gpu.plans import Eviction, SwitchPlan
from nebula.gpu.reports import Evicted
from nebula.gpu.snapshot import NodeSnapshot, Resident
from nebula.services.map import Target
from nebula.services.sizes import spoken

log = structlog.get_logger()


class Books(Protocol):
    """The ledger, as a change needs it: nothing leaves or comes that it does not count."""

    async def leaving(self, resident: Resident, node: str, why: str, *, force: bool) -> None:
        """Mark a model as leaving, and keep why; raises Conflict while somebody holds a lease on it."""
        ...

    async def left(self, resident: Resident, node: str) -> None:
        """Drop a model that is seen gone."""
        ...

    async def stays(self, resident: Resident, node: str) -> None:
        """Note that a model did not leave."""
        ...

    async def load(self, plan: SwitchPlan, load: Callable[[], Awaitable[str]]) -> str:
        """Load under a lease; raises Conflict when the room is gone meanwhile."""
        ...


@dataclass
class Change:
    """One plan being carried out; the node's lock is held by whoever made it."""

    plan: SwitchPlan
    hands: Hands
    books: Books
    look: Look
    """Takes a fresh snapshot of a node."""
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
            await self._evict(eviction, force=force)
        if self.plan.evicts:
            await self._until_free()
        await self.progress(0.4, f"Loading {self.plan.target}")
        begun = time.monotonic()
        said = await self.books.load(self.plan, lambda: self.hands.load(self.plan.target))
        self.load_seconds = time.monotonic() - begun
        await self.progress(1.0, f"{self.plan.target} is ready")
        return said

    async def _until_idle(self, *, force: bool) -> None:
        """Wait for services that work, or stop their work when that was asked for."""
        if force:
            for name in self.plan.waits_for:
                await self.hands.driver(name).interrupt()
            return
        names = " and ".join(self.plan.waits_for)
        await self.progress(0.05, f"Waiting for {names} to finish")
        leaving = {e.resident.target for e in self.plan.evicts}

        def idle(node: NodeSnapshot) -> bool:
            return not any(r.busy for r in node.residents if r.target in leaving)

        if not await self.until(idle, self.hands.limits.busy):
            raise Conflict(
                f"{names} is still working after {self.hands.limits.busy:g} s",
                hint="Try again later, or use force to stop its work.",
            )

    async def _evict(self, eviction: Eviction, *, force: bool) -> None:
        """Unload one model and wait until its service no longer lists it."""
        begun = time.monotonic()
        await self.unload([eviction.resident], eviction.why, force=force)
        if not await self.gone({eviction.resident.target}):
            await self.books.stays(eviction.resident, self.plan.node)
            raise UpstreamRejected(
                f"{eviction.resident.service} was asked to unload {eviction.resident.label}, "
                f"but still holds it after {self.hands.limits.freed:g} s",
                hint=f"Restart {eviction.resident.service}, then try again.",
            )
        self.evicted.append(Evicted(eviction, time.monotonic() - begun))
        log.info("model unloaded", target=str(eviction.resident.target), why=eviction.why)

    async def unload(self, residents: list[Resident], why: str, *, force: bool) -> None:
        """Ask services to drop models that nobody holds a lease on."""
        for resident in residents:
            await self.books.leaving(resident, self.plan.node, why, force=force)
            await self.hands.driver(resident.service).unload(resident.model)

    async def gone(self, targets: set[Target]) -> bool:
        """Wait until services no longer list models; say whether that came in time."""
        return await self.until(without(targets), self.hands.limits.freed)

    async def _until_free(self) -> None:
        """See by the card's own figures that memory came free; a service's word is not enough."""
        wanted = (self.plan.needed or 0) + self.plan.reserve
        seen: list[int | None] = [None]

        def freed(node: NodeSnapshot) -> bool:
            card = node.gpu(self.plan.gpu)
            seen[0] = card.vram_free if card else None
            # Without a figure of the card, the services' lists, checked before, must do.
            return seen[0] is None or seen[0] >= wanted - SLACK

        in_time = await self.until(freed, self.hands.limits.freed)
        for eviction in self.plan.evicts:
            await self.books.left(eviction.resident, self.plan.node)
        if not in_time:
            names = " and ".join(dict.fromkeys(e.resident.service for e in self.plan.evicts))
            raise UpstreamRejected(
                f"{names} said that its memory is free, but {spoken(seen[0])} of the "
                f"{spoken(wanted)} needed are free after {self.hands.limits.freed:g} s",
                hint=f"Restart {names}, or see what else runs on the card with gpu_status.",
            )

    async def until(self, reached: Callable[[NodeSnapshot], bool], seconds: float) -> bool:
        """Look at the node until it is as wanted; say whether that came in time."""
        return await self.hands.until(self.plan.node, self.look, reached, seconds)

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
