"""Unloads models for the scheduler: marked first, then unloaded, then seen free, then forgotten.

The service is asked outside any transaction. A model's memory counts until the card's own figures
show it free; what a service does not give back in time is counted as somebody else's.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from nebula.errors import NebulaError, UpstreamRejected
from nebula.gpu.hands import SLACK, foreign, without
from nebula.gpu.leases.ledger import place_of
from nebula.gpu.leases.rows import RequestState, ResidentState, Rows, read
from nebula.gpu.leases.tools import Tools
from nebula.gpu.snapshot import NodeSnapshot

log = structlog.get_logger(__name__)

Tell = Callable[[str, dict[str, object]], Awaitable[None]]

_AGAIN: Final = 30.0
"""A model that did not leave is left alone for so long."""


class Evicting:
    """The evictions of this process that are under way."""

    def __init__(self, tools: Tools, tell: Tell) -> None:
        """Take what leases are made with, and where changes are told."""
        self._tools = tools
        self._tell = tell
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, tuple[float, str]] = {}
        self._for: dict[str, str] = {}

    @property
    def busy(self) -> bool:
        """Say whether anything is being unloaded."""
        return bool(self._tasks)

    def trouble(self, request: str) -> str:
        """Return why the eviction for a wish failed a short time ago."""
        at, said = self._failed.get(self._for.get(request, ""), (0.0, ""))
        return said if said and time.monotonic() - at < _AGAIN else ""

    def begin(self, resident: ResidentState | None, reason: str, wish: RequestState | None) -> None:
        """Begin to unload a model, unless that is under way or has just failed."""
        if resident is None or resident.id in self._tasks:
            return
        if wish is not None:
            self._for[wish.id] = resident.id
        failed, _ = self._failed.get(resident.id, (-_AGAIN, ""))
        if resident.state != "leaving" and time.monotonic() - failed < _AGAIN:
            return
        task = asyncio.create_task(self._evict(resident, reason, wish), name="gpu-evict")
        self._tasks[resident.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(resident.id, None))

    async def take_over(self) -> None:
        """Go on with what a leader before us had begun to unload."""
        async with self._tools.db.session() as session:
            self.resume(await read(session))

    def resume(self, rows: Rows, *, forgotten: float = 0.0) -> None:
        """Go on with what was marked as leaving so many seconds ago, and nobody speaks of any more.

        Its process died, or the database was away when it would have told what came of it.
        """
        for resident in rows.residents:
            if resident.state == "leaving" and rows.now - resident.changed >= forgotten:
                self.begin(resident, f"{resident.label} was being unloaded", None)

    async def close(self) -> None:
        """Stop; the next leader goes on with what was begun."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _evict(self, resident: ResidentState, reason: str, wish: RequestState | None) -> None:
        ledger = self._tools.ledger
        try:
            if resident.state != "leaving":
                async with self._tools.db.session() as session:
                    if not await ledger.leaving(session, resident):
                        return
                    await ledger.decided(
                        session,
                        "evict",
                        resident.label,
                        reason,
                        card=resident.card,
                        request=wish.id if wish else None,
                    )
            counted = await self._unload(resident)
            async with self._tools.db.session() as session:
                await ledger.left(session, resident.id, resident.card, counted)
            log.info("model unloaded", target=str(resident.target), why=reason)
            await self._told(resident, reason, wish)
        except NebulaError as error:
            await self._stays(resident, error)

    async def _unload(self, resident: ResidentState) -> int | None:
        """Unload, and return the bytes that are somebody else's afterwards, where that is known."""
        hands = self._tools.hands
        node, gpu = place_of(resident.card)
        others, promised = await self._others(resident.card)
        await hands.driver(resident.service).unload(resident.model)
        last: list[NodeSnapshot] = []
        gone = without({resident.target})
        whole = self._tools.pictures.one(resident.service)

        def left(seen: NodeSnapshot) -> bool:
            last[:] = [seen]
            state = seen.service(resident.service)
            if state is not None and state.silent:
                return False
            held = any(r.service == resident.service and r.vram != 0 for r in seen.residents)
            return not held if whole else gone(seen)

        limit = hands.limits.freed
        if not await hands.until(node, hands.look, left, limit):
            raise UpstreamRejected(
                f"{resident.service} was asked to unload {resident.label}, "
                f"but still holds it after {limit:g} s",
                hint=f"Restart {resident.service}, then try again.",
            )

        def free(seen: NodeSnapshot) -> bool:
            last[:] = [seen]
            now = foreign(seen, gpu, promised, before=others)
            # Of a card that never tells there is only the service's word.
            return not hands.away(seen) if now is None else now <= others + SLACK

        freed = free(last[0]) or await hands.until(node, hands.look, free, limit)
        now = foreign(last[0], gpu, promised, before=others)
        # Nobody saw it free: it counts until the card is seen again.
        return now if freed or now is not None else others + resident.vram

    async def _others(self, card: str) -> tuple[int, int]:
        """Return the bytes that were somebody else's when last seen, and those of bare leases."""
        ledger = self._tools.ledger
        async with self._tools.db.session() as session:
            return await ledger.foreign(session, card) or 0, await ledger.promised(session, card)

    async def _told(self, resident: ResidentState, reason: str, wish: RequestState | None) -> None:
        node, _ = place_of(resident.card)
        await self._tell(
            "gpu.evicted",
            {
                "unloaded": [resident.target.model_dump()],
                "used": resident.last_used,
                "service": wish.service if wish else None,
                "model": wish.model if wish else None,
                "class": wish.klass if wish else None,
                "node": node,
                "card": resident.card,
                "why": [reason],
            },
        )

    async def _stays(self, resident: ResidentState, error: NebulaError) -> None:
        """Keep a model that did not leave, and say so to whoever waits."""
        self._failed[resident.id] = (time.monotonic(), str(error))
        log.warning("model not unloaded", target=str(resident.target), error=str(error))
        try:
            async with self._tools.db.session() as session:
                await self._tools.ledger.stays(session, resident.id)
                await self._tools.ledger.decided(
                    session, "failed", resident.label, str(error), card=resident.card
                )
        except NebulaError as worse:
            log.warning("gpu ledger not told", error=str(worse))
