"""When a schedule is due: pure functions of a specification and a moment.

Moments are aware and in UTC. A cron expression is read in the local time of its zone, where the
clocks change:

- An expression with a named hour (`30 2 * * *`) fires once for every day it names: when that
  local time is skipped, at the moment the clocks change; when it comes twice, the first time.
- An expression for every hour or every n-th (`*/15 * * * *`, `0 */2 * * *`) follows the clock as
  it runs: a skipped local time does not fire, one that comes twice fires twice.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterBadDateError, croniter
from croniter.croniter import CroniterError
from pydantic import AwareDatetime, BaseModel, Field, ValidationError, field_validator

from nebula.errors import InvalidInput

_YEARS_AHEAD = 30
_SECOND = timedelta(seconds=1)


class Cron(BaseModel, frozen=True):
    """Five fields: minute, hour, day of the month, month, day of the week; or @daily and such."""

    kind: Literal["cron"] = "cron"
    expression: str = Field(max_length=200)
    timezone: str = "UTC"

    @field_validator("expression")
    @classmethod
    def _readable(cls, text: str) -> str:
        text = " ".join(text.split())
        if not text.startswith("@") and len(text.split(" ")) != 5:
            raise ValueError("a cron expression has five fields, like '30 2 * * 1-5'")
        if any(field[:1].lower() in {"r", "h"} for field in text.split(" ")):
            raise ValueError("random fields are not supported; use jitter")
        try:
            croniter(text, datetime(2024, 1, 1)).get_next(datetime)  # noqa: DTZ001 - local time
        except CroniterBadDateError:
            raise ValueError("this moment never comes") from None
        except (CroniterError, ValueError, KeyError) as error:
            raise ValueError(f"not a cron expression: {error}") from None
        return text

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"there is no time zone {name[:60]!r}; e.g. Europe/Berlin") from None
        return name


class Once(BaseModel, frozen=True):
    """One moment."""

    kind: Literal["once"] = "once"
    at: AwareDatetime


class Every(BaseModel, frozen=True):
    """Every so many seconds, counted from `start`, so that late ticks do not shift later ones."""

    kind: Literal["interval"] = "interval"
    seconds: float = Field(ge=1, le=366 * 86_400)
    start: AwareDatetime


Timing = Annotated[Cron | Once | Every, Field(discriminator="kind")]


def next_fire(timing: Cron | Once | Every, after: datetime) -> datetime | None:
    """Return the first due moment later than `after` (aware), in UTC; None when there is none."""
    after = after.astimezone(UTC)
    match timing:
        case Once(at=at):
            return at.astimezone(UTC) if at > after else None
        case Every(seconds=seconds, start=start):
            step = timedelta(seconds=seconds)  # whole microseconds, so the division is exact
            return start.astimezone(UTC) + max((after - start) // step + 1, 0) * step
        case Cron():
            return _next_cron(timing, after)


def due_until(timing: Cron | Once | Every, first: datetime, until: datetime) -> Iterator[datetime]:
    """Yield `first` and every later due moment up to and including `until`."""
    due: datetime | None = first
    while due is not None and due <= until:
        yield due
        due = next_fire(timing, due)


def jitter_of(schedule_id: str, due: datetime, most: float) -> timedelta:
    """Return the delay of one tick: spread over 0..most seconds, always the same for that tick."""
    if not most:
        return timedelta(0)
    digest = hashlib.sha256(f"{schedule_id} {due.astimezone(UTC).isoformat()}".encode()).digest()
    return timedelta(seconds=most * int.from_bytes(digest[:4], "big") / 2**32)


def _next_cron(cron: Cron, after: datetime) -> datetime | None:
    zone = ZoneInfo(cron.timezone)
    local = after.astimezone(zone)
    found = (
        _by_running_clock(cron, zone, after, local)
        if _follows_the_clock(cron.expression)
        else _by_calendar(cron, zone, after, local)
    )
    # Microseconds of `after` never make a due moment: expressions name whole minutes.
    return None if found is None else found.replace(microsecond=0)


def _follows_the_clock(expression: str) -> bool:
    if expression.startswith("@"):
        return expression in {"@hourly", "@minutely"}
    return expression.split(" ")[1].startswith("*")


def _by_calendar(cron: Cron, zone: ZoneInfo, after: datetime, local: datetime) -> datetime | None:
    for named in _matches(cron, local.replace(tzinfo=None)):
        at = _instant(named, zone)
        if not _exists(named, zone):
            at = _change_before(at, zone)
        if at > after:
            return at
    return None


def _by_running_clock(
    cron: Cron, zone: ZoneInfo, after: datetime, local: datetime
) -> datetime | None:
    second_time = bool(local.fold)
    for named in _matches(cron, local.replace(tzinfo=None, fold=0)):
        if not _exists(named, zone):
            continue
        at = _instant(named, zone, fold=second_time)
        if at <= after:
            continue
        return _in_repeated_hour(cron, zone, after, at) or at
    return None


def _in_repeated_hour(cron: Cron, zone: ZoneInfo, after: datetime, at: datetime) -> datetime | None:
    """Return a match between the two in the second pass of a repeated hour."""
    before, later = _offset(after, zone), _offset(at, zone)
    if later >= before:
        return None
    change = _change_before(at, zone)
    if change <= after:
        return None
    first = change.astimezone(zone).replace(tzinfo=None, fold=0)
    named = next(_matches(cron, first - _SECOND), None)
    if named is None or named >= first + (before - later):
        return None
    return _instant(named, zone, fold=True)


def _matches(cron: Cron, after: datetime) -> Iterator[datetime]:
    """Yield the local times (naive) that the expression names, later than `after`."""
    # croniter rounds a start with microseconds down and would name the same minute again.
    reader = croniter(
        cron.expression,
        after.replace(microsecond=0),
        max_years_between_matches=_YEARS_AHEAD,
    )
    while True:
        try:
            yield reader.get_next(datetime)
        except CroniterBadDateError:
            return


def _instant(local: datetime, zone: ZoneInfo, *, fold: bool = False) -> datetime:
    return local.replace(tzinfo=zone, fold=int(fold)).astimezone(UTC)


def _exists(local: datetime, zone: ZoneInfo) -> bool:
    back = _instant(local, zone).astimezone(zone)
    return back.replace(tzinfo=None, fold=0) == local


def _offset(at: datetime, zone: ZoneInfo) -> timedelta:
    offset = at.astimezone(zone).utcoffset()
    assert offset is not None
    return offset


def _change_before(at: datetime, zone: ZoneInfo) -> datetime:
    """Return the second at which the offset in force at `at` began, looking back 13 months."""
    offset = _offset(at, zone)
    high, step = at.replace(microsecond=0), timedelta(hours=1)
    low = high - step
    while _offset(low, zone) == offset:
        high, step = low, min(step * 2, timedelta(days=14))
        low = high - step
        if at - low > timedelta(days=400):
            return at
    while high - low > _SECOND:
        middle = low + timedelta(seconds=(high - low) // _SECOND // 2)
        low, high = (middle, high) if _offset(middle, zone) != offset else (low, middle)
    return high


def cron_of(expression: str, timezone: str) -> Cron:
    """Return a cron timing; raises InvalidInput when it is none."""
    try:
        return Cron(expression=expression, timezone=timezone)
    except ValidationError as error:
        said = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        hint = "Five fields: minute, hour, day of the month, month, day of the week."
        at = error.errors()[0]["loc"]
        field = "timezone" if "timezone" in at else "cron"
        fields = [{"field": field, "problem": f"The schedule: {said}"}]
        raise InvalidInput(f"The schedule: {said}", hint=hint, fields=fields) from error
