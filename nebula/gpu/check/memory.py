"""Holds memory of a card and looks whether the driver's readings follow."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from nebula.errors import UpstreamUnavailable
from nebula.gpu.check.child import Holder
from nebula.gpu.check.report import Finding, mebibytes
from nebula.gpu.nvml import Nvml
from nebula.gpu.snapshot import GpuProcess, GpuReading
from nebula.services.sizes import MIB, spoken

_PAUSE, _LISTED_SECONDS = 0.01, 1.0
# Drivers round, and a desktop draws meanwhile; where a card shares it, all programs take of it.
_SLACK, _SLACK_SHARED = 96 * MIB, 768 * MIB
_CONTEXT = 1536 * MIB
"""The most that a context of CUDA takes beside what a program asks for."""


@dataclass
class Watched:
    """One card, as the driver's library tells it."""

    nvml: Nvml
    index: int
    patience: float = 10.0
    """Seconds in which a change must show."""

    async def read(self) -> GpuReading:
        """Read the card now; raises UpstreamUnavailable when it is gone."""
        reading = await self.nvml.read()
        for card in reading.gpus:
            if card.index == self.index:
                return card
        raise UpstreamUnavailable(f"The card {self.index} is gone: {reading.problem or 'unknown'}")

    async def until(
        self, reached: Callable[[GpuReading], bool], patience: float | None = None
    ) -> tuple[GpuReading, float]:
        """Read until the card is as wanted, or patience ends; return it and the milliseconds."""
        limit = self.patience if patience is None else patience
        begun = time.monotonic()
        while True:
            card = await self.read()
            passed = time.monotonic() - begun
            if reached(card) or passed > limit:
                return card, passed * 1000
            await asyncio.sleep(_PAUSE)

    async def used(self) -> int | None:
        """Return the bytes in use now."""
        return (await self.read()).vram_used


def near(card: GpuReading, seen: int | None, expected: int) -> bool:
    """Say whether a figure of a card is what was expected, as exactly as such figures are."""
    slack = _SLACK_SHARED if card.unified else _SLACK
    return seen is not None and abs(seen - expected) <= slack


def readings(card: GpuReading) -> Finding:
    """Say what the driver tells of a card that nothing was done to."""
    told = [
        f"{spoken(card.vram_total)}, {spoken(card.vram_used)} in use",
        "use unknown" if card.utilization is None else f"{card.utilization:.0%} busy",
        "temperature unknown" if card.temperature is None else f"{card.temperature:g} °C",
        f"{len(card.processes)} programs",
    ]
    total, used = card.vram_total, card.vram_used
    sound = total is not None and used is not None and 0 <= used <= total
    note = ""
    if card.unified:
        note = "it has no memory of its own: the computer's counts"
    if total is None:
        note = "its size in the service map counts instead (`gpus: [{vram: 12 GB}]`)"
    return Finding(
        what="the driver tells what the card is and holds",
        expected="its name, memory and use",
        seen=", ".join(told),
        state="right" if sound else "hidden" if total is None else "wrong",
        note=note,
    )


async def held(watched: Watched, holder: Holder, size: int) -> AsyncIterator[Finding]:
    """Have a process take memory; tell whether the card and its list of processes show it."""
    before = await watched.read()
    await holder.hold(size)
    start = before.vram_used
    if start is None:
        yield _unseen("memory that is taken shows", size, change=True)
    else:
        card, took = await watched.until(lambda c: near(c, (c.vram_used or 0) - start, size))
        grown = None if card.vram_used is None else card.vram_used - start
        yield Finding(
            what="memory that is taken shows",
            expected=mebibytes(size, change=True),
            seen=mebibytes(grown, change=True),
            state="right" if near(card, grown, size) else "wrong",
            milliseconds=took,
        )
    # The list comes with the figures: where it does not show now, it never will.
    card, took = await watched.until(lambda c: _enough(_of(c, holder.pid), size), _LISTED_SECONDS)
    yield _attributed(card, holder.pid, size, took)


async def freed(
    watched: Watched, before: int | None, size: int, what: str, since: float
) -> Finding:
    """Tell whether memory came back: `before` was in use when it was held, `since` it was freed."""
    if before is None:
        return _unseen(what, -size, change=True)
    card, _ = await watched.until(lambda c: near(c, before - (c.vram_used or 0), size))
    back = None if card.vram_used is None else card.vram_used - before
    return Finding(
        what=what,
        expected=mebibytes(-size, change=True),
        seen=mebibytes(back, change=True),
        state="right" if back is not None and near(card, -back, size) else "wrong",
        milliseconds=(time.monotonic() - since) * 1000,
    )


def _of(card: GpuReading, pid: int) -> GpuProcess | None:
    return next((p for p in card.processes if p.pid == pid), None)


def _enough(process: GpuProcess | None, size: int) -> bool:
    return process is not None and process.vram is not None and process.vram >= size


def visible(card: GpuReading, pid: int) -> bool:
    """Say whether the driver tells what a process holds here."""
    process = _of(card, pid)
    return process is not None and process.vram is not None


def _attributed(card: GpuReading, pid: int, size: int, took: float) -> Finding:
    process, what = _of(card, pid), "its memory is listed under its process"
    expected = f"process {pid} with {mebibytes(size)} and its context"
    if process is not None and process.vram is not None:
        fits = size <= process.vram + MIB and process.vram <= size + _CONTEXT
        seen = f"process {pid} with {mebibytes(process.vram)}"
        state = "right" if fits else "wrong"
        return Finding(what=what, expected=expected, seen=seen, state=state, milliseconds=took)
    if process is not None:
        seen = "the process, without its memory, as on Windows and in WSL2"
    elif card.processes:
        seen = "other pids: those of the host, as in a container (`--pid=host` shows its own)"
    else:
        seen = "no processes, as in a container or in WSL2"
    note = "what services say they hold, and the card's own total, count instead"
    return Finding(what=what, expected=expected, seen=seen, state="hidden", note=note)


def _unseen(what: str, size: int, *, change: bool) -> Finding:
    return Finding(
        what=what,
        expected=mebibytes(size, change=change),
        seen="the driver does not tell what is in use",
        state="hidden",
        note="what services say they hold counts instead",
    )
