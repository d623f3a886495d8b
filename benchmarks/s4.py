"""S4: hostile programs in the sandbox, and what the sandbox costs a start.

Every probe of `tests/nebula/sandbox/probes.py` is run once in the real sandbox; an escape is one
that got what it wanted, or ended the process outside. Controls are the same attempts without the
sandbox (or with looser limits), where they have to succeed. Then `/bin/true` is started plainly
and in the sandbox by turns, output captured in both, and `bwrap` by itself with the same mounts.
Wall times on a shared machine grow with whatever else runs: the processor's time says more.

Run: python -m benchmarks s4
"""

import asyncio
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
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
    took: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in ways}
    for _ in range(ROUNDS):
        for name, start in ways:
            took[name].append(await _timed(start))
    base = took["plain"]
    rows = []
    for name, measured in took.items():
        over = [wall - other for (wall, _), (other, _) in zip(measured, base, strict=True)]
        ratio = [wall / other for (wall, _), (other, _) in zip(measured, base, strict=True)]
        walls, processor = [wall for wall, _ in measured], [cpu for _, cpu in measured]
        figures = (min(walls), statistics.median(walls), _p95(walls),
                   statistics.median(over), _p95(over), statistics.median(ratio), _p95(ratio),
                   statistics.median(processor))  # fmt: skip
        rows.append([name, *(f"{figure:.1f}" for figure in figures)])
    return rows


async def _timed(start: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    before, begun = _processor(), time.perf_counter()
    await start()
    return (time.perf_counter() - begun) * 1e3, _processor() - before


def _processor() -> float:
    """Return the processor time of this process and its ended children, in ms."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used) * 1e3


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
    columns = [
        "/bin/true, ms",
        "min",
        "p50",
        "p95",
        "over p50",
        "over p95",
        "× p50",
        "× p95",
        "CPU p50",
    ]
    print(show(columns, asyncio.run(starts())))
    print("goal: <= 10 ms over plain")
    print(
        f"{ROUNDS} starts of each, by turns; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    main()
