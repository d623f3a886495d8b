"""R1 on PostgreSQL: the ledger's invariants over a thousand random steps, and planted bugs.

Random wishes, placements (two schedulers at once too), crashes before the commit, dying and
returning workers, time that passes. After each step: nothing over-committed, no memory given away
whose work still runs, no job lost, none finished twice, no stale token accepted.

Run: python -m benchmarks.r1_postgres
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from benchmarks.table import show
from nebula.db.embedded import EmbeddedPostgres
from nebula.db.engine import Database
from nebula.db.migrate import migrate
from nebula.log import configure_logging
from tests.nebula.gpu.leases.machine import PLANTED, Violation, run

STEPS, BUG_STEPS, SEEDS = 1000, 120, 10


async def main() -> list[str]:
    """Run the machine, then each planted bug until it is found; print, and return what is wrong."""
    configure_logging(level="ERROR")
    with (
        tempfile.TemporaryDirectory(prefix="r1-") as folder,
        EmbeddedPostgres(Path(folder), {"fsync": "off"}) as server,
    ):
        begun = time.monotonic()
        rows = [["no bug", *await _outcome(server, None, [0], STEPS)]]
        rows += [
            [bug, *await _outcome(server, bug, list(range(SEEDS)), BUG_STEPS)] for bug in PLANTED
        ]
    print(show(["planted", "seeds", "steps each", "violation"], rows))
    print(f"\n{time.monotonic() - begun:.0f} s in all.")
    sound, *planted = [row[-1] == "none" for row in rows]
    missed = [bug for bug, unseen in zip(PLANTED, planted, strict=True) if unseen]
    return missed if sound else [f"a violation without a bug: {rows[0][-1]}", *missed]


async def _outcome(
    server: EmbeddedPostgres, bug: str | None, seeds: list[int], steps: int
) -> list[str]:
    for number, seed in enumerate(seeds, start=1):
        await _emptied(server.url)
        async with Database(server.url) as db:
            try:
                await run(db, seed, steps, bug)
            except Violation as found:
                return [str(number), str(steps), str(found)]
    return [str(len(seeds)), str(steps), "none"]


async def _emptied(url: str) -> None:
    """Migrate once, and take every row of the ledger away."""
    await migrate(url)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("DROP TABLE IF EXISTS ready")
        await connection.execute("TRUNCATE gpu_cards, gpu_requests, gpu_decisions CASCADE")


if __name__ == "__main__":
    if wrong := asyncio.run(main()):
        sys.exit(f"not as it must be: {', '.join(wrong)}")
