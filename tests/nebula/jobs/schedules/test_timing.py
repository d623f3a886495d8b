"""Due moments: cron in local time over changes of the clocks, intervals, single moments."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nebula.jobs.schedules.timing import Cron, Every, Once, due_until, jitter_of, next_fire

BERLIN = "Europe/Berlin"


def local(expression: str, zone: str, start: str, count: int) -> list[str]:
    """Return the next due moments in local time with their offsets."""
    cron = Cron(expression=expression, timezone=zone)
    at: datetime | None = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone))
    found = []
    for _ in range(count):
        assert at is not None
        at = next_fire(cron, at)
        assert at is not None and at.tzinfo is UTC
        found.append(at.astimezone(ZoneInfo(zone)).strftime("%d %H:%M%z"))
    return found


def test_a_named_hour_that_the_clocks_skip_fires_at_the_change() -> None:
    found = local("30 2 * * *", BERLIN, "2026-03-28T00:00", 3)
    assert found == ["28 02:30+0100", "29 03:00+0200", "30 02:30+0200"]


def test_a_named_hour_that_comes_twice_fires_the_first_time_only() -> None:
    found = local("30 2 * * *", BERLIN, "2026-10-24T12:00", 2)
    assert found == ["25 02:30+0200", "26 02:30+0100"]


def test_several_skipped_moments_fire_once_at_the_change() -> None:
    found = local("0,30 2,3 * * *", BERLIN, "2026-03-29T00:00", 2)
    assert found == ["29 03:00+0200", "29 03:30+0200"]


def test_every_quarter_of_an_hour_leaves_the_skipped_hour_out() -> None:
    found = local("*/15 * * * *", BERLIN, "2026-03-29T01:31", 2)
    assert found == ["29 01:45+0100", "29 03:00+0200"]


def test_every_half_hour_fires_in_both_passes_of_a_repeated_hour() -> None:
    found = local("*/30 * * * *", BERLIN, "2026-10-25T01:31", 5)
    assert found == [
        "25 02:00+0200",
        "25 02:30+0200",
        "25 02:00+0100",
        "25 02:30+0100",
        "25 03:00+0100",
    ]


@pytest.mark.parametrize(
    ("expression", "zone", "start", "expected"),
    [
        ("@daily", "America/Sao_Paulo", "2018-11-03T12:00", "04 01:00-0200"),
        ("30 0 * * *", "Africa/Cairo", "2026-04-23T12:00", "24 01:00+0300"),
        ("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00", "31 00:00+1400"),
        ("*/20 * * * *", "Australia/Lord_Howe", "2026-04-05T01:41", "05 01:40+1030"),
        ("0 9 29 2 *", "UTC", "2026-03-01T00:00", "29 09:00+0000"),
        ("0 9 * * mon-fri", "Asia/Kathmandu", "2026-11-21T00:00", "23 09:00+0545"),
    ],
)
def test_zones_with_odd_changes(expression: str, zone: str, start: str, expected: str) -> None:
    assert local(expression, zone, start, 1) == [expected]


ZONES = st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "UTC"])
EXPRESSIONS = st.sampled_from(
    ["*/10 * * * *", "0 * * * *", "15 */3 * * *", "30 2 * * *", "0 0 1 * *", "45 1,2,3 * * 0"]
)
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 31))  # noqa: DTZ001 - made UTC below


@settings(max_examples=150, deadline=None)
@given(EXPRESSIONS, ZONES, MOMENTS)
def test_due_moments_only_grow_and_every_day_named_has_its_own(
    expression: str, zone: str, start: datetime
) -> None:
    cron = Cron(expression=expression, timezone=zone)
    begin = start.replace(tzinfo=UTC)
    first = next_fire(cron, begin)
    assert first is not None and first > begin
    found = [first]
    for _ in range(12):
        later = next_fire(cron, found[-1])
        assert later is not None
        found.append(later)
    assert all(b - a >= timedelta(minutes=1) for a, b in pairwise(found))
    # Asked from just before, the answer is the same: nothing lies between two due moments.
    for due in found:
        assert next_fire(cron, due - timedelta(seconds=1)) == due
    if expression == "30 2 * * *":
        days = [due.astimezone(ZoneInfo(zone)).date() for due in found]
        assert all(b - a == timedelta(days=1) for a, b in pairwise(days))


@settings(max_examples=100, deadline=None)
@given(st.floats(1, 10_000), st.integers(0, 10**6))
def test_an_interval_never_drifts_and_never_repeats(seconds: float, count: int) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    every = Every(seconds=seconds, start=start)
    due = start + count * timedelta(seconds=seconds)
    assert next_fire(every, due) == due + timedelta(seconds=seconds)
    assert next_fire(every, due - timedelta(microseconds=1)) == due
    assert next_fire(every, start - timedelta(days=1)) == start


def test_a_single_moment_comes_once() -> None:
    at = datetime(2026, 5, 1, 9, tzinfo=ZoneInfo(BERLIN))
    assert next_fire(Once(at=at), at - timedelta(days=1)) == at
    assert next_fire(Once(at=at), at) is None
    assert list(due_until(Once(at=at), at, at)) == [at]


@pytest.mark.parametrize(
    ("expression", "zone"),
    [
        ("", "UTC"),
        ("* * * *", "UTC"),
        ("* * * * * *", "UTC"),
        ("61 * * * *", "UTC"),
        ("0 0 31 2 *", "UTC"),
        ("R * * * *", "UTC"),
        ("@never", "UTC"),
        ("0 0 * * *", "Mars/Olympus"),
        ("0 0 * * *", "../etc/passwd"),
    ],
)
def test_what_is_no_schedule_is_refused(expression: str, zone: str) -> None:
    with pytest.raises(ValidationError):
        Cron(expression=expression, timezone=zone)


def test_jitter_is_the_same_for_a_tick_and_spread_over_ticks() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    delays = [jitter_of("sch_1", start + timedelta(hours=n), 60) for n in range(200)]
    assert delays == [jitter_of("sch_1", start + timedelta(hours=n), 60) for n in range(200)]
    assert all(timedelta(0) <= delay < timedelta(seconds=60) for delay in delays)
    assert min(delays) < timedelta(seconds=10) and max(delays) > timedelta(seconds=50)
