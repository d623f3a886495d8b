"""Days on which the clocks change pass in a second: a ticker that is told the time, every policy."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.principal import Principal
from nebula.db.engine import Database
from nebula.jobs.schedules.schedule import Missed, Schedule, TickState
from nebula.jobs.schedules.service import Options, Schedules
from nebula.jobs.schedules.ticker import Outcome, Ticker
from nebula.jobs.schedules.timing import Cron, next_fire
from nebula.tool.registry import Registry
from tests.nebula.tool import samples

BERLIN = "Europe/Berlin"
FORWARD = datetime(2026, 3, 28, 23, tzinfo=UTC)
"""Midnight of the Sunday that has 23 hours: at 01:00 UTC it turns from 02:00 to 03:00."""
BACK = datetime(2026, 10, 24, 22, tzinfo=UTC)
"""Midnight of the Sunday that has 25 hours: at 01:00 UTC it turns from 03:00 to 02:00."""

Asleep = tuple[float, float]
"""From which hour to which nobody is there."""


async def passed(
    database: Database,
    admin: Principal,
    begin: datetime,
    hours: float,
    cron: str,
    options: Options,
    asleep: Asleep = (0, 0),
    step: int = 15,
) -> tuple[list[datetime], list[TickState]]:
    """Let a day pass in steps of some minutes; return what was launched, and the ticks' states."""
    launched: list[datetime] = []
    now = begin

    async def clock(_: AsyncSession) -> datetime:
        return now

    async def launch(_: AsyncSession, schedule: Schedule, due: datetime) -> Outcome:
        launched.append(due)
        return Outcome(TickState.FIRED)

    schedules = Schedules(database, Registry(samples.ALL))
    timing = Cron(expression=cron, timezone=BERLIN)
    tool = samples.sample_look.name
    made = await schedules.create(
        admin, "day", tool=tool, arguments={}, timing=timing, options=options
    )
    async with database.session() as session:
        moved = text("UPDATE schedules SET next_due_at = :at, next_fire_at = :at")
        await session.execute(moved, {"at": next_fire(timing, begin - timedelta(seconds=1))})
    ticker = Ticker(database, launch, clock=clock)
    while now < begin + timedelta(hours=hours):
        if not asleep[0] <= (now - begin) / timedelta(hours=1) < asleep[1]:
            await ticker.fire_due()
        now += timedelta(minutes=step)
    ticks = await schedules.ticks(made.id, admin, limit=500)
    return launched, [tick.state for tick in ticks]


@pytest.mark.parametrize(
    ("begin", "hours", "cron", "many", "named"),
    [
        (FORWARD, 23, "*/15 * * * *", 92, []),
        (BACK, 25, "*/15 * * * *", 100, []),
        (FORWARD, 23, "30 2 * * *", 1, ["01:00"]),
        (BACK, 25, "30 2 * * *", 1, ["00:30"]),
        (FORWARD, 23, "0 */2 * * *", 11, ["23:00", "02:00", "04:00"]),
        (BACK, 25, "0 */2 * * *", 13, ["22:00", "00:00", "01:00", "03:00"]),
    ],
    ids=[
        "quarters-of-23-hours",
        "quarters-of-25-hours",
        "a-night-without-half-past-two",
        "a-night-with-two",
        "every-other-hour-of-23",
        "every-other-hour-of-25",
    ],
)
async def test_a_day_on_which_the_clocks_change(
    database: Database,
    admin: Principal,
    begin: datetime,
    hours: float,
    cron: str,
    many: int,
    named: Sequence[str],
) -> None:
    launched, _ = await passed(database, admin, begin, hours, cron, Options(grace_seconds=0))
    assert len(launched) == len(set(launched)) == many
    assert [f"{due:%H:%M}" for due in launched[: len(named)]] == list(named)


@pytest.mark.parametrize(
    ("missed", "made_up"), [(Missed.SKIP, 0), (Missed.ONCE, 1), (Missed.ALL, 7)]
)
@pytest.mark.parametrize(("begin", "hours"), [(FORWARD, 23), (BACK, 25)], ids=["forward", "back"])
async def test_a_night_that_was_slept_through_while_the_clocks_changed(
    database: Database,
    admin: Principal,
    begin: datetime,
    hours: float,
    missed: Missed,
    made_up: int,
) -> None:
    """From 00:07 to 04:07 by hours that pass, 16 quarters are missed, whatever the clocks say."""
    options = Options(missed=missed, grace_seconds=60, catch_up=7)
    asleep = (7 / 60, 4 + 7 / 60)
    launched, states = await passed(
        database, admin, begin, hours, "*/15 * * * *", options, asleep, step=5
    )
    assert len(launched) == hours * 4 - 16 + made_up
    away = [at for at in launched if asleep[0] < (at - begin) / timedelta(hours=1) < asleep[1]]
    last = begin + timedelta(hours=4)
    assert away == [last - n * timedelta(minutes=15) for n in reversed(range(made_up))]
    assert states.count(TickState.SKIPPED) == 1
