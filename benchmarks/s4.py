"""S4: hostile programs in the sandbox, and what the sandbox costs a start.

Every probe of `tests/nebula/sandbox/probes.py` is run once in the real sandbox; an escape is one
that got what it wanted, or ended the process outside. Controls are the same attempts without the
sandbox (or with looser limits), where they have to succeed. Then `/bin/true` is started plainly
and in the sandbox by turns, output captured in both, and `bwrap` by itself with the same mounts.
On a shared machine a start waits for whatever else runs, at each of its some eight hand-overs: the
second table, made with real-time priority where that may be had, is that of a machine with time.

Run: python -m benchmarks s4
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.table import show
from nebula.sandbox import mounts
from nebula.sandbox.job import Sandboxed
from nebula.sandbox.layers import check_layers
from nebula.sandbox.run import run
from tests.nebula.sandbox.probes import PROBES
from tests.nebula.sandbox.world import world

ROUNDS = 100
_JOB = Sandboxed(("/bin/true",))


async def plain() -> None:
    """Start it as asyncio does."""
    process = await asyncio.create_subprocess_exec(
        "/bin/true", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    await process.communicate()


async def bubblewrap() -> None:
    """Start it behind the mounts and namespaces alone."""
    process = await asyncio.create_subprocess_exec(
        "bwrap", *mounts.bubblewrap(_JOB), "--", "/bin/true",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await process.communicate()


async def sandboxed() -> None:
    """Start it behind every layer."""
    assert (await run(_JOB)).ok


async def starts() -> list[list[str]]:
    """Measure by turns; return the rows of the table."""
    ways: list[tuple[str, Callable[[], Awaitable[None]]]] = [
        ("plain", plain), ("bwrap alone", bubblewrap), ("sandbox, every layer", sandboxed),
    ]  # fmt: skip
    took: dict[str, list[float]] = {name: [] for name, _ in ways}
    for _ in range(ROUNDS):
        for name, start in ways:
            begun = time.perf_counter()
            await start()
            took[name].append((time.perf_counter() - begun) * 1e3)
    base = took["plain"]
    rows = []
    for name, walls in took.items():
        over = [wall - other for wall, other in zip(walls, base, strict=True)]
        ratio = [wall / other for wall, other in zip(walls, base, strict=True)]
        figures = (min(walls), statistics.median(walls), _p95(walls), statistics.median(over),
                   _p95(over), statistics.median(ratio), _p95(ratio))  # fmt: skip
        rows.append([name, *(f"{figure:.1f}" for figure in figures)])
    return rows


@contextmanager
def first_in_line() -> Iterator[bool]:
    """Let this process and its children go before all others; False where that needs rights."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


async def probes() -> tuple[int, list[str], int, int]:
    """Run every probe; return how many, the escapes, and how many controls succeeded of how many."""
    escaped, worked, controls = [], 0, 0
    with tempfile.TemporaryDirectory() as folder, world(Path(folder).resolve()) as around:
        for probe in PROBES:
            finished = await run(around.job(probe, probe.limits))
            if not finished.text.startswith("HELD") or around.victim.poll() is not None:
                escaped.append(probe.name)
            if probe.control == "user" or (probe.control == "root" and os.geteuid() == 0):
                controls += 1
                said = await asyncio.to_thread(around.outside, probe)
                worked += said.startswith("MANAGED")
            elif probe.control == "loose":
                controls += 1
                worked += (await run(around.job(probe, probe.loose))).text.startswith("MANAGED")
    return len(PROBES), escaped, worked, controls


def main() -> None:
    """Print what was found."""
    layers = ", ".join(f"{layer.name} ({layer.detail})" for layer in check_layers())
    print(f"layers: {layers}")
    os.environ |= {"NEBULA_CANARY": "canary"}
    count, escaped, worked, controls = asyncio.run(probes())
    print(f"probes: {count}, escapes: {len(escaped)}; goal: >= 30, 0 escapes")
    for name in escaped:
        print(f"  escaped: {name}")
    print(f"controls: {worked} of {controls} succeed without the sandbox or its limit\n")
    _print("as it comes", asyncio.run(starts()))
    with first_in_line() as first:
        if first:
            _print("before all others", asyncio.run(starts()))
    print("goal: <= 10 ms over plain")


def _print(how: str, rows: list[list[str]]) -> None:
    columns = ["/bin/true, ms", "min", "p50", "p95", "over p50", "over p95", "× p50", "× p95"]
    print(show(columns, rows))
    load, cores = os.getloadavg()[0], os.cpu_count()
    print(f"{ROUNDS} starts of each, by turns, {how}; load average {load:.1f} on {cores} cores\n")


if __name__ == "__main__":
    main()
