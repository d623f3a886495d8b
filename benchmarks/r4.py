"""R4: ten thousand ticks of schedules under four ticker processes that are killed again and again.

A little more than a virtual day, Sunday 29 March 2026 from 00:00 UTC, on which Berlin puts its
clocks forward: schedules for every minute, every 20 minutes, every quarter of an hour and every
night in Berlin's time, with each policy for missed ticks, and three hours in which no process
lives. Four real processes fire on real PostgreSQL and die by SIGKILL at random moments. The ticks
that have to fire are reckoned apart from the product. Real are processes, kills, ticker and
database; the processes read the time from a table, and a launch writes a row, in the transaction
that a job is submitted in otherwise, into a table where nothing refuses a second row. Then three
bugs are planted, each to be found.
"""

import asyncio
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import structlog

from benchmarks.table import show
from nebula.db.embedded import EmbeddedPostgres
from nebula.db.migrate import migrate
from nebula.settings import Settings
from tests.nebula.jobs.schedules.storm import Plan, Report, storm
from tests.nebula.jobs.schedules.storm_bugs import TICKERS

WHOLE = Plan(hours=29.0, kill_every=0.3)
SHORT = {"hours": 6.0, "each": 1, "absence": (4.0, 4.5), "kill_every": 0.1}


def main() -> None:
    """Let the storm pass with no bug, then with each, and print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    plans = [WHOLE, *(Plan(**SHORT, bug=bug) for bug in TICKERS if bug)]  # type: ignore[arg-type]
    rows = [_row(plan, _passed(plan)) for plan in plans]
    print(show(_COLUMNS, rows))
    print("goal: 10,000 ticks, each fired once, with no bug; with each bug something is wrong")


_COLUMNS = ("planted", "due", "fired", "lost", "twice", "kills", "at work", "seconds")


def _row(plan: Plan, report: Report) -> Sequence[str]:
    return (
        plan.bug or "no bug",
        f"{report.ticks:,}",
        f"{report.fired:,}",
        _many(report.lost),
        _many(report.twice),
        str(report.kills),
        str(report.kills_at_work),
        f"{report.seconds:.0f}",
    )


def _many(examples: Sequence[str]) -> str:
    return f"{len(examples)}+" if len(examples) == 10 else str(len(examples))


def _passed(plan: Plan) -> Report:
    with (
        tempfile.TemporaryDirectory(prefix="nebula-r4-") as home,
        EmbeddedPostgres(Path(home), {"fsync": "off"}) as server,
    ):
        asyncio.run(migrate(server.url))
        settings = Settings(
            _env_file=None, home=Path(home), database_url=server.url, warm_start=False, workers=0
        )
        return storm(settings, plan)


if __name__ == "__main__":
    main()
