"""Goes over the cards of this machine: one process takes and frees memory, all else is looked at."""

import socket
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from nebula.db.engine import Database
from nebula.db.migrate import migrate
from nebula.db.open import database_addresses
from nebula.errors import Conflict, NebulaError, NotFound, UpstreamUnavailable
from nebula.gpu.check import memory
from nebula.gpu.check.child import HOLDER, Holder, holding
from nebula.gpu.check.engine import Engine, opened
from nebula.gpu.check.memory import Watched
from nebula.gpu.check.report import CardFindings, CheckReport, Finding, mebibytes
from nebula.gpu.nvml import NO_GPU, Nvml, NvmlReading
from nebula.gpu.snapshot import GpuReading
from nebula.services.sizes import GIB, MIB
from nebula.settings import Settings

_USUAL = 2 * GIB
_SHARE = 0.4
_LEAST = 256 * MIB


async def check(
    *,
    nvml: Nvml | None = None,
    only: int | None = None,
    size: int | None = None,
    argv: Sequence[str] = HOLDER,
    database_url: str = "",
    patience: float = 10.0,
) -> CheckReport:
    """Check one card or all, holding `size` bytes for some seconds (2 GiB, or what is free).

    A change must show within `patience` seconds; without an address a database is made for it.

    Raises:
        NotFound: when there is no card, or not that one.
        UpstreamUnavailable: when the driver does not answer.
    """
    begun = time.monotonic()
    nvml = nvml or Nvml()
    reading = await nvml.read()
    cards = _chosen(reading, only)
    async with _database(database_url) as (db, settings):
        found = []
        for card in cards:
            watched = Watched(nvml, card.index, patience)
            async with opened(db, settings, watched, _free_port()) as engine:
                findings = [f async for f in _findings(card, engine, size, argv)]
            name = card.name or "NVIDIA GPU"
            found.append(CardFindings(index=card.index, name=name, findings=tuple(findings)))
    seconds = round(time.monotonic() - begun, 1)
    return CheckReport(
        driver=reading.driver, cuda=reading.cuda, cards=tuple(found), seconds=seconds
    )


def _chosen(reading: NvmlReading, only: int | None) -> Sequence[GpuReading]:
    if reading.problem == NO_GPU:
        hint = "Is the driver installed, and does `nvidia-smi` show a card? In a container, "
        raise NotFound(NO_GPU, hint=hint + "pass it in: docker run --gpus all.")
    if not reading.gpus:
        hint = "After an update of the driver, restart the machine."
        raise UpstreamUnavailable(reading.problem, hint=hint)
    cards = [card for card in reading.gpus if only in {None, card.index}]
    if not cards:
        there = ", ".join(str(card.index) for card in reading.gpus)
        raise NotFound(f"There is no card {only} here", hint=f"There is: {there}.")
    return cards


async def _findings(
    card: GpuReading, engine: Engine, size: int | None, argv: Sequence[str]
) -> AsyncIterator[Finding]:
    """Go through everything; what breaks off is a finding, too."""
    yield memory.readings(card)
    try:
        amount = _amount(card, size)
        before = await engine.watched.used()
        async with holding(card, argv) as holder:
            yield await _context(engine.watched, before)
            async for finding in _cycle(engine, holder, amount):
                yield finding
    except NebulaError as error:
        yield Finding(
            what="a CUDA program takes memory",
            expected="it runs",
            seen=str(error),
            state="wrong",
            note=error.hint,
        )


async def _cycle(engine: Engine, holder: Holder, size: int) -> AsyncIterator[Finding]:
    watched = engine.watched
    counted = await engine.card()
    async for finding in memory.held(watched, holder, size):
        yield finding
    visible = memory.visible(await watched.read(), holder.pid)
    async for finding in engine.counts(counted, size):
        yield finding
    async for finding in engine.waits(holder, size):
        yield finding
    await holder.hold(size)
    full, since = await watched.used(), time.monotonic()
    await holder.free()
    yield await memory.freed(watched, full, size, "memory that is freed comes back", since)
    yield await engine.measures(holder, size, visible=visible)
    await holder.hold(size)
    full, since = await watched.used(), time.monotonic()
    await holder.kill()
    yield await _after_kill(watched, full, size, since)


async def _context(watched: Watched, before: int | None) -> Finding:
    """Say what a context of CUDA takes on this card; every program's does."""
    now = await watched.used()
    took = None if before is None or now is None else now - before
    return Finding(
        what="a CUDA program starts",
        expected="its context takes some memory",
        seen=mebibytes(took, change=True),
        state="right" if took is not None else "hidden",
    )


async def _after_kill(watched: Watched, full: int | None, size: int, since: float) -> Finding:
    """A killed process gives back its context as well: at least what it held must be free."""
    what = "memory of a killed process comes back"
    if full is None:
        return await memory.freed(watched, full, size, what, since)
    card, _ = await watched.until(lambda c: full - (c.vram_used or full) >= size - 96 * MIB)
    back = full - (card.vram_used or full)
    return Finding(
        what=what,
        expected=f"{mebibytes(-size, change=True)} and its context",
        seen=mebibytes(-back, change=True),
        state="right" if back >= size - 96 * MIB else "wrong",
        milliseconds=(time.monotonic() - since) * 1000,
    )


def _amount(card: GpuReading, size: int | None) -> int:
    """Return how much to hold: what was asked for, else what leaves other programs their room."""
    free = card.vram_free
    if size is not None:
        return size
    if free is None:
        return _LEAST
    amount = min(_USUAL, int(free * _SHARE)) // MIB * MIB
    if amount < _LEAST:
        raise Conflict(
            f"Only {mebibytes(free)} of the card are free, too little to try anything",
            hint="Say `free the gpu`, or end other programs, and check again.",
        )
    return amount


@asynccontextmanager
async def _database(url: str) -> AsyncIterator[tuple[Database, Settings]]:
    """Open a database that is thrown away, so that the check needs nothing and changes nothing."""
    with tempfile.TemporaryDirectory(prefix="nebula-check-") as folder:
        home = Path(folder)
        settings = Settings(
            _env_file=None, home=home, database_url=url, service_map=home / "service-map.yml"
        )
        async with database_addresses(settings) as found:
            if not url:
                await migrate(found.owner, app=found.app)
            async with Database(found.app) as db:
                yield db, settings.model_copy(update={"database_url": found.app})


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])
