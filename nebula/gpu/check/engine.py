"""The scheduler of leases over a card of this machine, in a database of its own, for a check."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import httpx
from sqlalchemy import text as sql

from nebula.db.engine import Database
from nebula.events.bus import Events
from nebula.gpu.check.child import Holder
from nebula.gpu.check.memory import Watched, near
from nebula.gpu.check.report import Finding, mebibytes
from nebula.gpu.footprints.estimate import ENOUGH, MARGIN
from nebula.gpu.leases.need import GpuNeed
from nebula.gpu.leases.rows import CardState
from nebula.gpu.leases.settings import LeaseSettings
from nebula.gpu.open import Gpu, open_gpu
from nebula.gpu.policy.types import PriorityClass
from nebula.services.map import Target
from nebula.services.sizes import MIB
from nebula.settings import Settings

NODE: Final = "this-machine"
SERVICE: Final = "gpu-check"
_LOOK: Final = 0.02
_QUICK: Final = LeaseSettings(
    _env_file=None, poll_seconds=0.1, observe_seconds=0.2, idle_observe_seconds=0.5
)
# The process that listens there counts as a service that keeps one model at a time.
_MAP: Final = """\
nodes:
  - name: {node}
services:
  - {{name: {service}, kind: comfyui, node: {node}, gpu: {gpu}, port: {port}}}
"""
_PEAKS: Final = sql("SELECT max(peak_vram) FROM gpu_footprints WHERE service = :service")


@dataclass
class Engine:
    """The scheduler, and the card it is tried on."""

    gpu: Gpu
    db: Database
    watched: Watched
    port: int

    async def card(self) -> CardState | None:
        """Look at the cards, and return the ledger's row of this one."""
        await self.gpu.leases.look()
        return (await self.gpu.leases.rows()).card(f"{NODE}/{self.watched.index}")

    async def counts(self, before: CardState | None, size: int) -> AsyncIterator[Finding]:
        """Tell whether memory that is held counts as another program's, and as room that is gone."""
        now = await self.card()
        if before is None or now is None:
            yield _uncounted("memory that is taken counts as another program's")
            return
        seen = await self.watched.read()
        for what, change, expected in (
            (
                "it counts as another program's",
                now.foreign_used - before.foreign_used,
                size,
            ),
            ("so much less is left for leases", now.room - before.room, -size),
        ):
            yield Finding(
                what=what,
                expected=mebibytes(expected, change=True),
                seen=mebibytes(change, change=True),
                state="right" if near(seen, change, expected) else "wrong",
            )

    async def waits(self, holder: Holder, size: int) -> AsyncIterator[Finding]:
        """Ask for more than is free: it must wait, say why, and start when the memory is free."""
        card = await self.card()
        if card is None:
            yield _uncounted("work that needs more than is free waits")
            return
        wanted = card.room + size // 2
        asking = asyncio.create_task(self._lease(wanted))
        try:
            because = await self._because(asking)
            yield Finding(
                what="work that needs more than is free waits",
                expected=f"waits for {mebibytes(wanted)}: other programs hold memory",
                seen=because or "it did not wait",
                state="right" if "other programs hold" in because else "wrong",
            )
            freed_at = time.monotonic()
            await holder.free()
            await asyncio.wait({asking}, timeout=self.watched.patience)
            started = asking.done() and not asking.cancelled() and asking.exception() is None
            yield Finding(
                what="and starts when the memory is free",
                expected="a lease",
                seen="a lease" if started else await self._because(asking) or "still waits",
                state="right" if started else "wrong",
                milliseconds=(time.monotonic() - freed_at) * 1000,
            )
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _lease(self, size: int) -> None:
        need = GpuNeed(service=SERVICE, model="large work", vram=size, klass=PriorityClass.BATCH)
        async with self.gpu.leases.hold(need, load=False, wait_seconds=60.0):
            pass

    async def _because(self, asking: "asyncio.Task[None]") -> str:
        """Return why the wish waits, as soon as the scheduler says."""
        limit = time.monotonic() + self.watched.patience
        while not asking.done() and time.monotonic() < limit:
            waiting = (await self.gpu.leases.rows()).waiting
            if waiting and waiting[0].because:
                return waiting[0].because
            await asyncio.sleep(_LOOK)
        return ""

    async def measures(self, holder: Holder, size: int, *, visible: bool) -> Finding:
        """Work a few times under leases: what the process held at its peak must be kept."""
        what = "what a service took at its peak is measured"
        if not visible:
            return Finding(
                what=what,
                expected=f"{mebibytes(size)} and its context",
                seen="the driver does not tell what a process holds here",
                state="hidden",
                note="sizes in the service map, and what Ollama says itself, count instead",
            )
        if await self.card() is None:
            return _uncounted(what)
        await holder.listen(self.port)
        for _ in range(ENOUGH):
            await self._work(holder, size)
        peak = await self._peak()
        book = self.gpu.leases.tools.pictures
        await book.footprints.refresh(now=True)
        planned = book.size(Target(service=SERVICE, model="work"))
        sound = peak is not None and size <= peak + MIB and planned == _with_margin(peak)
        return Finding(
            what=what,
            expected=f"{mebibytes(size)} and its context; planned with {MARGIN - 1:.0%} more",
            seen=f"{mebibytes(peak)}; planned with {mebibytes(planned)}",
            state="right" if sound else "wrong",
        )

    async def _work(self, holder: Holder, size: int) -> None:
        need = GpuNeed(service=SERVICE, model="work", vram=size, klass=PriorityClass.BATCH)
        async with self.gpu.leases.hold(
            need, load=False, wait_seconds=self.watched.patience
        ) as lease:
            await holder.hold(size)
            await self._sampled(lease.id, size)
            await holder.free()

    async def _sampled(self, lease: str, size: int) -> None:
        """Wait until the scheduler has seen what the work holds."""
        limit = time.monotonic() + self.watched.patience
        while time.monotonic() < limit:
            held = {v.id: v.peak or 0 for v in (await self.gpu.leases.rows()).leases}
            if held.get(lease, size) >= size:
                return
            await asyncio.sleep(_LOOK)

    async def _peak(self) -> int | None:
        async with self.db.session() as session:
            found: int | None = (await session.execute(_PEAKS, {"service": SERVICE})).scalar()
        return found


def _with_margin(peak: int) -> int:
    return math.ceil(peak * MARGIN)


def _uncounted(what: str) -> Finding:
    return Finding(
        what=what,
        expected="the scheduler counts on the card",
        seen="it does not know the card's size",
        state="hidden",
        note="give its size in the service map (`gpus: [{vram: 12 GB}]`)",
    )


@asynccontextmanager
async def opened(
    db: Database, settings: Settings, watched: Watched, port: int
) -> AsyncIterator[Engine]:
    """Open the scheduler over one card, on a map of its own; no other Jarvis hears of it."""
    text = _MAP.format(node=NODE, service=SERVICE, gpu=watched.index, port=port)
    await asyncio.to_thread(settings.service_map.write_text, text)
    async with (
        httpx.AsyncClient(trust_env=False) as http,
        Events(db) as events,
        open_gpu(
            settings,
            http,
            db,
            events,
            nvml=watched.nvml,
            lease_settings=_QUICK,
            watch=False,
        ) as gpu,
    ):
        yield Engine(gpu, db, watched, port)
