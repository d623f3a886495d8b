"""P4: from submitting a job to its start, and what becomes of jobs when things break.

Ours is the whole call: policy, ledger, job record, queue row, events and audit line in one
transaction, then the worker's claim; the peer is plain procrastinate, which does none of that,
deferring one task at a time. Client and worker are one process, one job at a time.

The faults: of two worker processes one is killed (as a crash of the program does it), both are
killed and started again, PostgreSQL restarts, all its backends are killed ten times within two
seconds, and all its connections are taken for five seconds while every other one is cut.
Forty-eight jobs of a second run sixteen at once when it happens; a job counts as recovered when it
has succeeded thirty seconds later. GOALS cites awa and River with at least 98 % in five of five.
"""

import asyncio
import contextlib
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.job_lab import Fleet, queue, server
from benchmarks.job_tools import BEGAN
from benchmarks.table import show
from nebula.db.embedded import EmbeddedPostgres
from nebula.log import configure_logging

ROUNDS, WARM = 400, 50
JOBS, NAP_SECONDS, IN_FLIGHT = 48, 1.0, 16
PATIENCE_SECONDS = 30.0
BACKENDS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
)


async def ours_latency(url: str, home: Path) -> list[float]:
    """Submit one job after another through the executor; return milliseconds to their start."""
    from nebula.jobs.worker import open_worker

    async with queue("ours", url, home) as lab, open_worker(lab.app, 4):
        return await _latencies(lab, lambda number: BEGAN.pop(f"bench_nap-{number}", None))


async def plain_latency(url: str, home: Path) -> list[float]:
    """The same with procrastinate's defer."""
    began: list[float] = []
    async with queue("procrastinate", url, home) as lab:

        @lab.app.task(name="mark")  # type: ignore[untyped-decorator]
        async def mark() -> None:
            began.append(time.perf_counter())

        async def defer(number: int, seconds: float) -> None:
            await mark.defer_async()

        lab.nap = defer
        worker = asyncio.create_task(
            lab.app.run_worker_async(concurrency=4, install_signal_handlers=False)
        )
        await asyncio.sleep(0.5)
        found = await _latencies(lab, lambda _: began.pop() if began else None)
        worker.cancel()
        await asyncio.wait([worker])
        return found


async def _latencies(lab: Any, began: Callable[[int], float | None]) -> list[float]:
    found = []
    for number in range(ROUNDS + WARM):
        asked = time.perf_counter()
        await lab.nap(number, 0.0)
        while (start := began(number)) is None:
            await asyncio.sleep(0.0002)
        found.append((start - asked) * 1000)
        await asyncio.sleep(0.01)
    return found[WARM:]


async def one_killed(fleet: Fleet, _server: EmbeddedPostgres, _url: str) -> None:
    """Kill one of the two workers."""
    fleet.kill(fleet.processes[:1])


async def all_killed(fleet: Fleet, _server: EmbeddedPostgres, _url: str) -> None:
    """Kill both workers, and start two again as a service manager does."""
    fleet.kill()
    await fleet.start(2)


async def restart(_fleet: Fleet, running: EmbeddedPostgres, _url: str) -> None:
    """Restart PostgreSQL."""
    await asyncio.to_thread(running._programs.control, running.data, "restart", "-m", "fast", "-w")


async def storm(_fleet: Fleet, running: EmbeddedPostgres, _url: str) -> None:
    """Kill every backend, ten times."""
    async with await psycopg.AsyncConnection.connect(running.admin_url, autocommit=True) as admin:
        for _ in range(10):
            await admin.execute(BACKENDS)
            await asyncio.sleep(0.2)


async def exhausted(_fleet: Fleet, running: EmbeddedPostgres, url: str) -> None:
    """Take every connection that a program may have, and cut all others, for five seconds."""
    held: list[psycopg.AsyncConnection[Any]] = []
    until = time.monotonic() + 5
    async with await psycopg.AsyncConnection.connect(running.admin_url, autocommit=True) as admin:
        while time.monotonic() < until:
            with contextlib.suppress(psycopg.OperationalError):
                while True:
                    held.append(await psycopg.AsyncConnection.connect(url))
            ours = [connection.info.backend_pid for connection in held]
            await admin.execute(f"{BACKENDS} AND pid <> ALL(%s)", [ours])
    for connection in held:
        await connection.close()


FAULTS: dict[str, Callable[[Fleet, EmbeddedPostgres, str], Awaitable[None]]] = {
    "one worker killed": one_killed,
    "all workers killed": all_killed,
    "PostgreSQL restarted": restart,
    "backend storm": storm,
    "connections exhausted": exhausted,
}


async def under(fault: str, name: str) -> tuple[float, int, float]:
    """Return the share of jobs that succeeded, how many are lost, and when the last one ended."""
    with server() as (running, home):
        fleet = Fleet(name, running.url, home)
        try:
            async with queue(name, running.url, home) as lab:
                for number in range(JOBS):
                    await lab.nap(number, NAP_SECONDS)
                await fleet.start(2)
                while (await lab.counts()).get("running", 0) < IN_FLIGHT:
                    await asyncio.sleep(0.02)
                await FAULTS[fault](fleet, running, running.url)
                return await _aftermath(lab)
        finally:
            fleet.kill()


async def _aftermath(lab: Any) -> tuple[float, int, float]:
    began = time.monotonic()
    done = 0
    while (waited := time.monotonic() - began) < PATIENCE_SECONDS:
        with contextlib.suppress(psycopg.OperationalError):
            done = (await lab.counts()).get("succeeded", 0)
            if done == JOBS:
                break
        await asyncio.sleep(0.1)
    return done / JOBS, JOBS - done, waited


def _figures(name: str, found: list[float], base: float) -> list[str]:
    cuts = statistics.quantiles(found, n=100)
    return [name, f"{cuts[49]:.1f}", f"{cuts[98]:.1f}", f"{cuts[49] / base:.2f}"]


def latency() -> str:
    """Measure both, taking turns, so that both see the same machine."""
    ours: list[float] = []
    plain: list[float] = []
    for _ in range(2):
        for kept, measure in ((ours, ours_latency), (plain, plain_latency)):
            with server() as (running, home):
                kept.extend(asyncio.run(measure(running.url, home)))
    base = statistics.median(plain)
    rows = [
        _figures("Nebula Command: a call becomes a running job", ours, base),
        _figures("procrastinate: defer to start", plain, base),
    ]
    return show(["submit to running, ms", "p50", "p99", "÷ procrastinate"], rows)


def recovery() -> str:
    """Let every fault happen to both."""
    rows = []
    for fault in FAULTS:
        cells = [fault]
        for name in ("ours", "procrastinate"):
            share, lost, seconds = asyncio.run(under(fault, name))
            when = f"{seconds:.0f} s" if not lost else f"{lost} left"
            cells += [f"{share:.0%}", when]
            print(f"{fault}, {name}: {share:.0%}, {when}", file=sys.stderr, flush=True)
        rows.append(cells)
    return show(["recovered after", "ours", "", "procrastinate", ""], rows)


def main() -> None:
    """Print both tables."""
    configure_logging("console", "CRITICAL")
    print(latency())
    print()
    print(recovery())
    print("goal: p50 <= 6 ms, p99 <= 15 ms; >= 98 % in five of five, none lost")
    print(f"{ROUNDS * 2} submits; {JOBS} jobs of {NAP_SECONDS:g} s per fault, two workers of 8")


if __name__ == "__main__":
    main()
