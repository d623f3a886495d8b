"""When something shall run by itself, as tools are told it: one of cron, minutes, or a moment."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, Field

from nebula.errors import InvalidInput
from nebula.jobs.schedules.schedule import Missed
from nebula.jobs.schedules.timing import Cron, Every, Once, cron_of

Timing = Cron | Once | Every

CronText = Annotated[
    str | None,
    Field(max_length=200, description="Minute, hour, day, month, weekday: '0 7 * * 1-5', @daily"),
]
Zone = Annotated[str, Field(max_length=60, description="Time zone, e.g. Europe/Berlin")]
EveryMinutes = Annotated[
    int | None, Field(ge=1, le=100_000, description="Instead of cron: minutes between runs")
]
At = Annotated[
    AwareDatetime | None, Field(description="Instead of cron: one moment, with its zone")
]
MissedTicks = Annotated[
    Missed, Field(description="Ticks while everything was off: skip, once, or all of them")
]


def timing_of(
    cron: str | None, timezone: str, every_minutes: int | None, at: datetime | None
) -> Timing | None:
    """Return when something shall run; None when no time is given.

    Raises:
        InvalidInput: when more than one is given, or the cron expression is none.
    """
    given = [value for value in (cron, every_minutes, at) if value is not None]
    if len(given) > 1:
        raise InvalidInput("Give one of cron, every_minutes and at")
    if cron is not None:
        return cron_of(cron, timezone)
    if every_minutes is not None:
        return Every(seconds=every_minutes * 60, start=datetime.now(UTC))
    return None if at is None else Once(at=at)
