"""Says in words when a schedule fires. Pure.

What has no simple words keeps its expression: its next times, which `coming` tells, say more.
"""

import re
from datetime import UTC, datetime

from nebula.jobs.schedules.timing import Cron, Every, Once, next_fire

_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SHORT_DAYS = {day[:3].lower(): number for number, day in enumerate(_DAYS[:7])}
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_ORDINALS = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}


def in_words(timing: Cron | Once | Every) -> str:
    """Return when a timing fires, as people say it: every day at 07:00."""
    match timing:
        case Every(seconds=seconds):
            return f"every {_length(seconds)}"
        case Once(at=at):
            return f"once, on {at.astimezone(UTC):%Y-%m-%d at %H:%M} UTC"
        case Cron(expression=expression, timezone=timezone):
            return f"{_cron(expression)} ({timezone})"


def coming(timing: Cron | Once | Every, after: datetime, most: int = 3) -> list[datetime]:
    """Return the next moments later than `after`, at most so many."""
    found: list[datetime] = []
    last: datetime | None = after
    while len(found) < most and (last := next_fire(timing, last or after)) is not None:
        found.append(last)
    return found


def _cron(expression: str) -> str:
    fields = _NAMED.get(expression, expression).split(" ")
    if len(fields) != 5:
        return f"by {expression}"
    minute, hour, day, month, weekday = fields
    times, days, months = _times(minute, hour), _days(day, weekday), _months(month)
    if times is None or days is None or months is None:
        return f"by {expression}"
    # "every 15 minutes" names no moment of a day, so "every day" would say nothing.
    said = times if days == "every day" and not times.startswith("at ") else f"{days} {times}"
    if days != "every day" and times.startswith("every "):
        said = f"{times}, {days}"
    return f"{said} {months}".strip()


def _times(minute: str, hour: str) -> str | None:
    if step := re.fullmatch(r"\*/(\d+)", minute):
        return f"every {_length(int(step[1]) * 60)}" if hour == "*" else None
    if not minute.isdigit():
        return "every minute" if minute == hour == "*" else None
    past = "on the hour" if int(minute) == 0 else f"at minute {int(minute)}"
    if hour == "*":
        return f"every hour {past}"
    if step := re.fullmatch(r"\*/(\d+)", hour):
        return f"every {int(step[1])} hours {past}"
    hours = hour.split(",")
    if not all(each.isdigit() for each in hours):
        return None
    return "at " + _joined([f"{int(each):02}:{int(minute):02}" for each in hours])


def _days(day: str, weekday: str) -> str | None:
    if day == "*" and weekday in {"*", "?"}:
        return "every day"
    if day == "*":
        return _weekdays(weekday)
    if weekday not in {"*", "?"} or not all(each.isdigit() for each in day.split(",")):
        return None
    numbers = [f"{int(each)}{_ORDINALS.get(int(each), 'th')}" for each in day.split(",")]
    return f"on the {_joined(numbers)}"


def _weekdays(text: str) -> str | None:
    numbers: list[int] = []
    for part in text.lower().split(","):
        ends = [_weekday(each) for each in part.split("-")]
        if len(ends) > 2 or None in ends:
            return None
        first, last = ends[0], ends[-1]
        assert first is not None
        assert last is not None
        numbers += range(first, last + 1) if first <= last else [*range(first, 7), *range(last + 1)]
    found = {number % 7 for number in numbers}
    if found == {1, 2, 3, 4, 5}:
        return "on weekdays"
    if found == {0, 6}:
        return "at weekends"
    if len(found) == 7:
        return "every day"
    return "on " + _joined([f"{_DAYS[number]}s" for number in sorted(found, key=_from_monday)])


def _weekday(text: str) -> int | None:
    if text.isdigit() and int(text) <= 7:
        return int(text)
    return _SHORT_DAYS.get(text)


def _from_monday(number: int) -> int:
    return (number - 1) % 7


def _months(text: str) -> str | None:
    if text == "*":
        return ""
    numbers = text.split(",")
    if not all(each.isdigit() and 1 <= int(each) <= 12 for each in numbers):
        return None
    return "in " + _joined([_MONTHS[int(each) - 1] for each in numbers])


def _length(seconds: float) -> str:
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size and seconds % size == 0:
            count = int(seconds // size)
            return name if count == 1 else f"{count} {name}s"
    return f"{seconds:g} seconds"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
