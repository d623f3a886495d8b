"""Tickers over real PostgreSQL with a clock that runs a day in seconds."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.principal import Principal
from nebula.db.engine import Database
from nebula.errors import InvalidInput, NotFound, PermissionDenied, UpstreamUnavailable
from nebula.jobs.schedules.schedule import Missed, Schedule, TickState
from nebula.jobs.schedules.service import Options, Schedules
from nebula.jobs.schedules.ticker import Outcome, Ticker
from nebula.jobs.schedules.timing import Cron, Every, Once
from nebula.tool.registry import Registry
from tests.nebula.tool import samples

TOOL = samples.sample_look.name
Fired = list[tuple[str, datetime]]


class Day:
    """A clock for tickers: all see the same moment, which only the test moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=1)

    async def __call__(self, session: AsyncSession) -> datetime:
        return self.now

    def pass_(self, **much: float) -> None:
        self.now += timedelta(**much)


@pytest.fixture
def day() -> Day:
    return Day()


@pytest.fixture
def schedules(database: Database) -> Schedules:
    return Schedules(database, Registry(samples.ALL))


@pytest.fixture
async def fired(database: Database) -> Fired:
    """Keep what was launched in a table, so that a rolled-back launch leaves nothing."""
    async with database.session() as s:
        await s.execute(text("CREATE TABLE launched (schedule text, due timestamptz)"))
    return []


async def launch(session: AsyncSession, schedule: Schedule, due: datetime) -> Outcome:
    values = {"schedule": schedule.id, "due": due}
    await session.execute(text("INSERT INTO launched VALUES (:schedule, :due)"), values)
    return Outcome(TickState.FIRED, job_id=f"job_{due:%H%M%S}")


async def launched(database: Database) -> Fired:
    async with database.session() as s:
        rows = await s.execute(text("SELECT schedule, due FROM launched ORDER BY due, schedule"))
        return [(row.schedule, row.due) for row in rows]


async def every(
    schedules: Schedules, owner: Principal, day: Day, seconds: float, options: Options | None = None
) -> Schedule:
    timing = Every(seconds=seconds, start=day.now + timedelta(seconds=seconds))
    return await schedules.create(
        owner,
        "often",
        tool=TOOL,
        arguments={},
        timing=timing,
        options=options or Options(),
    )


async def test_ten_thousand_ticks_fire_once_each_under_four_tickers(
    schedules: Schedules, database: Database, fired: Fired, admin: Principal, day: Day
) -> None:
    begin, span = day.now, timedelta(hours=17)
    options = Options(missed=Missed.ALL, catch_up=100)
    made = [await every(schedules, admin, day, 60, options) for _ in range(10)]
    tickers = [Ticker(database, launch, clock=day) for _ in range(4)]
    while day.now < begin + span:
        day.pass_(minutes=60)
        await asyncio.gather(*(ticker.fire_due() for ticker in tickers))
    seen = Counter(await launched(database))
    assert len(seen) == 10 * 17 * 60
    assert set(seen.values()) == {1}
    expected = {
        (one.id, begin + timedelta(minutes=n)) for one in made for n in range(1, 17 * 60 + 1)
    }
    assert set(seen) == expected
    assert await asyncio.gather(*(ticker.fire_due() for ticker in tickers)) == [0, 0, 0, 0]


async def test_a_ticker_killed_in_the_middle_leaves_the_tick_to_another(
    schedules: Schedules, database: Database, fired: Fired, admin: Principal, day: Day
) -> None:
    await every(schedules, admin, day, 60)
    day.pass_(seconds=60)
    reached = asyncio.Event()

    async def hang(session: AsyncSession, schedule: Schedule, due: datetime) -> Outcome:
        await launch(session, schedule, due)
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    dying = asyncio.create_task(Ticker(database, hang, clock=day).fire_due())
    await reached.wait()
    other = Ticker(database, launch, clock=day)
    assert await other.fire_due() == 0  # held by the first, not waited for
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    assert await other.fire_due() == 1
    assert len(await launched(database)) == 1


async def test_a_tick_whose_launch_fails_for_now_is_tried_again_and_the_others_fire(
    schedules: Schedules, database: Database, fired: Fired, admin: Principal, day: Day
) -> None:
    one = await every(schedules, admin, day, 60)
    await every(schedules, admin, day, 60)
    day.pass_(seconds=60)

    async def moody(session: AsyncSession, schedule: Schedule, due: datetime) -> Outcome:
        outcome = await launch(session, schedule, due)
        if schedule.id == one.id:
            raise UpstreamUnavailable("The queue is away")
        return outcome

    assert await Ticker(database, moody, clock=day).fire_due() == 1
    assert one.id not in dict(await launched(database))
    assert await Ticker(database, launch, clock=day).fire_due() == 1
    assert len(await launched(database)) == 2


async def test_a_refused_tick_is_on_record_and_the_next_one_comes(
    schedules: Schedules, database: Database, fired: Fired, admin: Principal, day: Day
) -> None:
    made = await every(schedules, admin, day, 60)
    day.pass_(seconds=60)

    async def refuse(session: AsyncSession, schedule: Schedule, due: datetime) -> Outcome:
        await launch(session, schedule, due)
        raise PermissionDenied("No longer")

    assert await Ticker(database, refuse, clock=day).fire_due() == 0
    assert await launched(database) == []
    (tick,) = await schedules.ticks(made.id, admin)
    assert (tick.state, tick.problem) == (TickState.REFUSED, "No longer")
    day.pass_(seconds=60)
    assert await Ticker(database, launch, clock=day).fire_due() == 1


async def test_an_owner_who_is_gone_ends_the_schedule(
    schedules: Schedules, database: Database, fired: Fired, admin: Principal, day: Day
) -> None:
    made = await every(schedules, admin, day, 60)
    day.pass_(seconds=60)

    async def gone(session: AsyncSession, schedule: Schedule, due: datetime) -> Outcome:
        return Outcome(TickState.REFUSED, problem="Its owner is gone", stop=True)

    await Ticker(database, gone, clock=day).fire_due()
    found = await schedules.get(made.id, admin)
    assert (found.enabled, found.stopped_because) == (False, "Its owner is gone")


@pytest.mark.parametrize(
    ("missed", "expected"),
    [(Missed.SKIP, []), (Missed.ONCE, [10]), (Missed.ALL, [8, 9, 10])],
)
async def test_ticks_nobody_was_there_for_follow_the_policy(
    schedules: Schedules,
    database: Database,
    fired: Fired,
    admin: Principal,
    day: Day,
    missed: Missed,
    expected: list[int],
) -> None:
    begin = day.now
    made = await every(schedules, admin, day, 600, Options(missed=missed, catch_up=3))
    day.pass_(seconds=10 * 600 + 300)
    await Ticker(database, launch, clock=day).fire_due()
    found = [round((due - begin) / timedelta(seconds=600)) for _, due in await launched(database)]
    assert found == expected
    after = await schedules.get(made.id, admin)
    assert after.next_due_at == begin + timedelta(seconds=11 * 600)
    states = [tick.state for tick in await schedules.ticks(made.id, admin)]
    assert states.count(TickState.SKIPPED) == 1


async def test_a_year_of_absence_is_caught_up_with_in_no_time(
    schedules: Schedules, database: Database, fired: Fired, admin: Principal, day: Day
) -> None:
    timing = Cron(expression="*/5 * * * *", timezone="Europe/Berlin")
    await schedules.create(
        admin,
        "minutes",
        tool=TOOL,
        arguments={},
        timing=timing,
        options=Options(missed=Missed.ALL, catch_up=4),
    )
    day.pass_(days=365)
    async with asyncio.timeout(2):
        assert await Ticker(database, launch, clock=day).fire_due() in {4, 5}


async def test_a_single_moment_fires_and_is_over(
    schedules: Schedules, database: Database, fired: Fired, admin: Principal, day: Day
) -> None:
    at = day.now + timedelta(minutes=5)
    made = await schedules.create(admin, "then", tool=TOOL, arguments={}, timing=Once(at=at))
    assert await Ticker(database, launch, clock=day).fire_due() == 0
    day.pass_(minutes=5)
    assert await Ticker(database, launch, clock=day).fire_due() == 1
    found = await schedules.get(made.id, admin)
    assert (found.enabled, found.next_fire_at) == (False, None)
    day.pass_(minutes=5)
    assert await Ticker(database, launch, clock=day).fire_due() == 0


async def test_jitter_delays_a_tick_but_not_the_ones_after_it(
    schedules: Schedules, database: Database, fired: Fired, admin: Principal, day: Day
) -> None:
    begin = day.now
    made = await every(schedules, admin, day, 600, Options(jitter_seconds=300))
    assert made.next_due_at == begin + timedelta(seconds=600)
    assert made.next_fire_at is not None and made.next_fire_at > made.next_due_at
    ticker = Ticker(database, launch, clock=day)
    while day.now < begin + timedelta(seconds=4 * 600 + 300):
        day.pass_(seconds=10)
        await ticker.fire_due()
    found = [(due - begin) / timedelta(seconds=600) for _, due in await launched(database)]
    assert found == [1, 2, 3, 4]


async def test_a_paused_schedule_rests_and_goes_on_from_the_next_moment(
    schedules: Schedules, database: Database, fired: Fired, admin: Principal, day: Day
) -> None:
    made = await every(schedules, admin, day, 60)
    await schedules.pause(made.id, admin)
    day.pass_(minutes=10)
    assert await Ticker(database, launch, clock=day).fire_due() == 0
    resumed = await schedules.resume(made.id, admin)
    assert resumed.enabled and resumed.next_fire_at is not None


async def test_only_the_owner_and_administrators_reach_a_schedule(
    schedules: Schedules, developer: Principal, admin: Principal, viewer: Principal, day: Day
) -> None:
    made = await every(schedules, developer, day, 60)
    with pytest.raises(NotFound):
        await schedules.get(made.id, viewer)
    with pytest.raises(NotFound):
        await schedules.pause(made.id, viewer)
    with pytest.raises(NotFound):
        await schedules.delete(made.id, viewer)
    assert await schedules.list(viewer) == []
    assert [one.id for one in await schedules.list(admin)] == [made.id]
    renamed = await schedules.update(made.id, developer, name=" less  often ")
    assert renamed.name == "less often"
    await schedules.delete(made.id, admin)
    assert await schedules.list(developer) == []


async def test_what_cannot_run_is_refused_when_it_is_made(
    schedules: Schedules, admin: Principal, client: Principal, day: Day
) -> None:
    daily = Cron(expression="@daily")
    with pytest.raises(NotFound):
        await schedules.create(admin, "x", tool="no_such", arguments={}, timing=daily)
    with pytest.raises(InvalidInput):
        await schedules.create(admin, "x", tool=TOOL, arguments={"a": 1}, timing=daily)
    with pytest.raises(PermissionDenied):
        await schedules.create(client, "x", tool=TOOL, arguments={}, timing=daily)
    with pytest.raises(InvalidInput):
        past = Once(at=datetime(2020, 1, 1, tzinfo=UTC))
        await schedules.create(admin, "x", tool=TOOL, arguments={}, timing=past)
    with pytest.raises(InvalidInput):
        too_many = Options(catch_up=1000)
        await schedules.create(admin, "x", tool=TOOL, arguments={}, timing=daily, options=too_many)


async def test_a_bug_in_one_schedule_does_not_stop_the_others(
    schedules: Schedules, database: Database, fired: Fired, admin: Principal, day: Day
) -> None:
    one = await every(schedules, admin, day, 60)
    await every(schedules, admin, day, 60)
    day.pass_(seconds=60)

    async def broken(session: AsyncSession, schedule: Schedule, due: datetime) -> Outcome:
        if schedule.id == one.id:
            raise ZeroDivisionError("secret detail")
        return await launch(session, schedule, due)

    assert await Ticker(database, broken, clock=day).fire_due() == 1
    (tick,) = await schedules.ticks(one.id, admin)
    assert tick.state is TickState.REFUSED
    assert "reference" in tick.problem and "secret" not in tick.problem
