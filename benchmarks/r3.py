"""R3: effects under kill -9 at every point of a run.

Worker processes kill themselves at each point of a job's first run: after the claim, before and
after the effect, and before the end is recorded; then another worker goes on. The effect is on a
system outside (a file of its own) that keeps keys, or keeps none. Counted are the effects per
job, and the states jobs end in. The peer is procrastinate with stalled jobs retried as its manual
shows, which knows no kinds of effects. GOALS cites LangGraph with sync durability: twice.
"""

import asyncio
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.job_lab import Fleet, queue, server
from benchmarks.table import show
from nebula.db.embedded import EmbeddedPostgres
from nebula.log import configure_logging

POINTS = ["after the claim", "before the effect", "after the effect", "before the record"]
KINDS = ["keyed", "opaque"]
PATIENCE_SECONDS = 40.0


async def under(name: str, running: EmbeddedPostgres, home: Path) -> dict[str, Counter[str]]:
    """Kill one worker at each point and kind; return effects and states, counted by kind."""
    found = {kind: Counter[str]() for kind in KINDS}
    async with queue(name, running.url, home) as lab:
        for number, (kind, point) in enumerate((k, p) for k in KINDS for p in POINTS):
            outside = home / f"outside-{number}.db"
            _prepare(outside)
            fleet = Fleet(name, running.url, home, BENCH_OUTSIDE=str(outside), BENCH_RETRY="1")
            before = await lab.counts()
            try:
                await fleet.start(1, BENCH_FAULT=point)
                await lab.act(number, kind)
                await asyncio.to_thread(fleet.processes[0].wait, PATIENCE_SECONDS)
                await fleet.start(1)
                state = await _ended(lab, before)
            finally:
                fleet.kill()
            found[kind][state] += 1
            found[kind][f"{_effects(outside)} effects"] += 1
    return found


async def _ended(lab: Any, before: dict[str, int]) -> str:
    """Return the state that one more job than before is in, once it has ended."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            now = await lab.counts()
            if not now.get("queued") and not now.get("running"):
                return str(next(state for state in now if now[state] > before.get(state, 0)))
            await asyncio.sleep(0.1)


def _prepare(outside: Path) -> None:
    with sqlite3.connect(outside) as file:
        file.execute("CREATE TABLE effects (key TEXT UNIQUE)")


def _effects(outside: Path) -> int:
    with sqlite3.connect(outside) as file:
        return int(file.execute("SELECT count(*) FROM effects").fetchone()[0])


def main() -> None:
    """Print the table."""
    configure_logging("console", "CRITICAL")
    rows = []
    for name, shown in (("ours", "Nebula Command"), ("procrastinate", "procrastinate + retry")):
        with server() as (running, home):
            for kind, seen in asyncio.run(under(name, running, home)).items():
                effects = [f"{seen[f'{n} effects']}" for n in range(3)]
                states = [f"{seen['succeeded']}", f"{seen['unknown']}"]
                rows.append([f"{shown}, {kind}", *effects, *states])
    columns = ["effect under kill -9", "none", "once", "twice", "succeeded", "unknown"]
    print(show(columns, rows))
    print("goal: keyed ones once; opaque ones never twice, and unknown")
    print(f"killed {', '.join(POINTS)}: one job each")


if __name__ == "__main__":
    main()
