"""Ticker processes under SIGKILL while a day passes: each tick has to fire once.

The processes, the kills, the ticker and PostgreSQL are real. Two things are not: all processes read
the time from a table, which the conductor moves on; and a launch writes a row, in the transaction
that a job is submitted in otherwise, where nothing refuses a second row of the same tick. Run: `python -m
tests.nebula.jobs.schedules.storm`, with DATABASE_URL of a migrated, empty database.
"""

import asyncio
import json
import logging
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

import psycopg
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.principal import Role
from nebula.auth.service import Auth
from nebula.db.engine import Database
from nebula.jobs.schedules.schedule import Missed, Schedule, TickState
from nebula.jobs.schedules.service import Options, Schedules
from nebula.jobs.schedules.ticker import Outcome
from nebula.jobs.schedules.timing import Cron, Every, next_fire
from nebula.settings import Settings
from nebula.tool.registry import Registry
from tests.nebula.jobs import samples
from tests.nebula.jobs.schedules.storm_bugs import TICKERS

BEGIN = datetime(2026, 3, 29, tzinfo=UTC)
"""In Berlin the clocks are put forward an hour later."""
MINUTE = timedelta(minutes=1)
GRACE = timedelta(minutes=5)
CATCH_UP = 100
PROCESSES = 4


@dataclass(frozen=True)
class Plan:
    """How long, how many schedules, how often a process dies, and which bug is planted."""

    hours: float = 27.0
    each: int = 2
    """Schedules for every minute, of each policy."""
    kill_every: float = 2.0
    """Seconds of real time from one death to the next, on average."""
    absence: tuple[float, float] = (9.0, 12.05)
    """From which hour to which no process lives."""
    bug: str = ""
    seed: int = 1


@dataclass
class Report:
    """What came of it; the lists hold at most ten examples."""

    ticks: int = 0
    fired: int = 0
    kills: int = 0
    kills_at_work: int = 0
    """Those while something was due."""
    seconds: float = 0.0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    uncalled: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Made:
    """A schedule of the storm."""

    id: str
    missed: Missed
    due: tuple[datetime, ...]


async def prepare(settings: Settings, plan: Plan) -> list[Made]:
    """Make the clock and the schedules; the first tick of each comes after `BEGIN`."""
    end = BEGIN + timedelta(hours=plan.hours)
    made = []
    async with Database(settings.database_url) as db:
        auth = Auth(db, settings)
        await auth.people.create("ada", Role.ADMIN)
        ada = await auth.principal_for_user("ada")
        schedules = Schedules(db, Registry(samples.ALL))
        async with db.session() as session:
            await session.execute(text("CREATE TABLE virtual_clock (now timestamptz)"))
            await session.execute(text("INSERT INTO virtual_clock VALUES (:at)"), {"at": BEGIN})
            await session.execute(text("CREATE TABLE launched (schedule text, due timestamptz)"))
        for number, (timing, missed, due) in enumerate(_timings(plan, end)):
            options = Options(missed=missed, grace_seconds=GRACE.total_seconds(), catch_up=CATCH_UP)
            one = await schedules.create(
                ada,
                f"storm {number}",
                tool="sample_idempotent",
                arguments={"name": "tick"},
                timing=timing,
                options=options,
            )
            first = next_fire(timing, BEGIN)
            async with db.session() as session:
                moved = text(
                    "UPDATE schedules SET next_due_at = :at, next_fire_at = :at WHERE id = :id"
                )
                await session.execute(moved, {"at": first, "id": one.id})
            made.append(Made(one.id, missed, due))
    return made


def _timings(plan: Plan, end: datetime) -> list[tuple[Cron | Every, Missed, tuple[datetime, ...]]]:
    """Return schedules with the moments they are due, reckoned here and not by the product."""
    found: list[tuple[Cron | Every, Missed, tuple[datetime, ...]]] = []
    for missed in Missed:
        for minutes in (*[1] * plan.each, 20):
            every = Every(seconds=minutes * 60, start=BEGIN)
            found.append((every, missed, _stepping(BEGIN, end, minutes)))
        # On the day of the change it follows the clock as it runs.
        often = Cron(expression="*/15 * * * *", timezone="Europe/Berlin")
        found.append((often, missed, _stepping(BEGIN, end, 15)))
    # 02:30 does not exist on that Sunday, so it comes when the clocks change; on Monday at 00:30 UTC.
    nightly = Cron(expression="30 2 * * *", timezone="Europe/Berlin")
    twice = (BEGIN + timedelta(hours=1), BEGIN + timedelta(hours=24, minutes=30))
    found.append((nightly, Missed.ONCE, tuple(at for at in twice if at <= end)))
    return found


def _stepping(begin: datetime, end: datetime, minutes: int) -> tuple[datetime, ...]:
    step = timedelta(minutes=minutes)
    return tuple(begin + n * step for n in range(1, int((end - begin) / step) + 1))


async def _tick(settings: Settings, bug: str) -> None:
    """Be one process: fire until killed."""

    async def virtual(session: AsyncSession) -> datetime:
        now: datetime = (await session.execute(text("SELECT now FROM virtual_clock"))).scalar_one()
        return now

    async with Database(settings.database_url) as db:
        await TICKERS[bug](db, _launch, clock=virtual, poll_seconds=0.002).run()


async def _launch(session: AsyncSession, schedule: Schedule, due: datetime) -> Outcome:
    values = {"schedule": schedule.id, "due": due}
    await session.execute(text("INSERT INTO launched VALUES (:schedule, :due)"), values)
    return Outcome(TickState.FIRED)


def _process(settings: Settings, bug: str) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    asyncio.run(_tick(settings, bug))


class Conductor:
    """Moves the clock, kills processes, and starts others in their place."""

    def __init__(self, settings: Settings, plan: Plan) -> None:
        """Take where the processes work, and what shall happen to them."""
        self._settings = settings
        self._plan = plan
        self._dice = random.Random(plan.seed)
        self._fork = multiprocessing.get_context("fork")
        self._processes: list[BaseProcess] = []
        self._now = BEGIN
        self._next_kill = float("inf")
        self.report = Report()

    def run(self) -> Report:
        """Let the whole time pass."""
        begun = time.monotonic()
        plan, end = self._plan, BEGIN + timedelta(hours=self._plan.hours)
        leave, back = (BEGIN + timedelta(hours=hours) for hours in plan.absence)
        with psycopg.connect(self._settings.database_url, autocommit=True) as db:
            try:
                self._start()
                self._pass(db, min(leave, end))
                if leave < end:
                    for process in self._processes:
                        self._kill(process)
                    self._set(db, back)
                    self._start()
                    self._drain(db)
                    self._pass(db, end)
            finally:
                for process in self._processes:
                    process.kill()
                    process.join()
        self.report.seconds = time.monotonic() - begun
        return self.report

    def _start(self) -> None:
        self._processes = [self._another() for _ in range(PROCESSES)]
        self._next_kill = time.monotonic() + self._plan.kill_every

    def _another(self) -> BaseProcess:
        made = self._fork.Process(target=_process, args=(self._settings, self._plan.bug))
        made.start()
        return made

    def _pass(self, db: psycopg.Connection, until: datetime) -> None:
        while self._now < until:
            late = self._late(db)
            if late < GRACE - 2 * MINUTE:
                self._set(db, min(until, self._now + self._dice.randint(1, 2) * MINUTE))
            self._perhaps_kill(at_work=late > timedelta(0))
        self._drain(db)

    def _drain(self, db: psycopg.Connection) -> None:
        while self._late(db) > timedelta(0):
            self._perhaps_kill(at_work=True)

    def _late(self, db: psycopg.Connection) -> timedelta:
        """Return how long the oldest of what is due has waited; zero when nothing is due."""
        time.sleep(0.002)
        query = "SELECT min(next_fire_at) FROM schedules WHERE enabled AND next_fire_at <= %s"
        row = db.execute(query, [self._now]).fetchone()
        oldest = row[0] if row else None
        return timedelta(0) if oldest is None else self._now - oldest + timedelta(microseconds=1)

    def _set(self, db: psycopg.Connection, now: datetime) -> None:
        self._now = now
        db.execute("UPDATE virtual_clock SET now = %s", [now])

    def _perhaps_kill(self, *, at_work: bool) -> None:
        if time.monotonic() < self._next_kill:
            return
        self._next_kill = time.monotonic() + self._dice.expovariate(1 / self._plan.kill_every)
        dying = self._dice.randrange(PROCESSES)
        self._kill(self._processes[dying])
        self.report.kills_at_work += at_work
        self._processes[dying] = self._another()

    def _kill(self, process: BaseProcess) -> None:
        process.kill()
        process.join()
        self.report.kills += 1


def expected(one: Made, plan: Plan) -> set[datetime]:
    """Return which ticks of a schedule have to fire: all but those missed while nobody lived."""
    leave, back = (BEGIN + timedelta(hours=hours) for hours in plan.absence)
    away = [due for due in one.due if leave < due <= back]
    late = [due for due in away if back - due > GRACE]
    match one.missed:
        case Missed.ALL:
            made_up = late[-CATCH_UP:]
        case Missed.ONCE if len(late) == len(away):
            made_up = late[-1:]
        case _:
            made_up = []
    return set(one.due) - set(late) | set(made_up)


Launched = tuple[str, datetime]
"""A schedule and the moment that was due."""


def check(report: Report, wanted: Mapping[str, set[datetime]], found: Counter[Launched]) -> None:
    """Compare the launches there were with those that had to be."""
    all_of_them = {(each, due) for each, moments in wanted.items() for due in moments}
    report.ticks, report.fired = len(all_of_them), sum(found.values())
    report.lost = _examples(all_of_them - found.keys())
    report.uncalled = _examples(found.keys() - all_of_them)
    report.twice = _examples({tick for tick, times in found.items() if times > 1})


def _examples(ticks: set[Launched]) -> list[str]:
    return [f"{each} {due:%d %H:%M}" for each, due in sorted(ticks)[:10]]


def storm(settings: Settings, plan: Plan) -> Report:
    """Let a storm pass over an empty database, and report."""
    made = asyncio.run(prepare(settings, plan))
    report = Conductor(settings, plan).run()
    with psycopg.connect(settings.database_url) as db:
        found = Counter(db.execute("SELECT schedule, due FROM launched").fetchall())
        word = "SELECT count(*) FROM schedule_ticks WHERE state = 'fired'"
        ticks = db.execute(word).fetchone()
    check(report, {one.id: expected(one, plan) for one in made}, found)
    if ticks is not None and ticks[0] != report.ticks:
        report.uncalled.append(f"{ticks[0]} ticks are on record as fired")
    return report


def main() -> None:
    """Run the storm that the first argument describes, and print its report."""
    plan = Plan(**{**json.loads(sys.argv[1]), "absence": tuple(json.loads(sys.argv[1])["absence"])})
    with tempfile.TemporaryDirectory(prefix="nebula-storm-") as home:
        settings = Settings(
            _env_file=None,
            home=Path(home),
            database_url=os.environ["DATABASE_URL"],
            ollama_host="http://127.0.0.1:9",
            warm_start=False,
            workers=0,
        )
        sys.stdout.write(json.dumps(asdict(storm(settings, plan))))


if __name__ == "__main__":
    main()
