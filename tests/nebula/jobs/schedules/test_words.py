"""Schedules in words: the usual ones as people say them, the others by their expression."""

from datetime import UTC, datetime

import pytest

from nebula.jobs.schedules.timing import Cron, Every, Once
from nebula.jobs.schedules.words import coming, in_words

MONDAY = datetime(2026, 11, 30, 6, 0, tzinfo=UTC)
SAID = {
    "0 7 * * *": "every day at 07:00",
    "@daily": "every day at 00:00",
    "30 6,18 * * 1-5": "on weekdays at 06:30 and 18:30",
    "0 9 * * 1": "on Mondays at 09:00",
    "0 9 * * mon,wed,fri": "on Mondays, Wednesdays and Fridays at 09:00",
    "0 10 * * 6-7": "at weekends at 10:00",
    "0 10 * * 5-1": "on Mondays, Fridays, Saturdays and Sundays at 10:00",
    "*/15 * * * *": "every 15 minutes",
    "*/60 * * * 1-5": "every hour, on weekdays",
    "5 * * * *": "every hour at minute 5",
    "0 */2 * * *": "every 2 hours on the hour",
    "* * * * *": "every minute",
    "0 0 1 * *": "on the 1st at 00:00",
    "0 4 2,23 1,7 *": "on the 2nd and 23rd at 04:00 in January and July",
    "0 7 1 * 1": "by 0 7 1 * 1",
    "0 7-9 * * *": "by 0 7-9 * * *",
    "0 7 * * 1#2": "by 0 7 * * 1#2",
}


@pytest.mark.parametrize(("expression", "said"), SAID.items())
def test_an_expression_is_said_as_people_say_it_or_as_it_is(expression: str, said: str) -> None:
    assert (
        in_words(Cron(expression=expression, timezone="Europe/Berlin")) == f"{said} (Europe/Berlin)"
    )


def test_intervals_and_moments_have_words_too() -> None:
    assert in_words(Every(seconds=900, start=MONDAY)) == "every 15 minutes"
    assert in_words(Every(seconds=86_400, start=MONDAY)) == "every day"
    assert in_words(Once(at=MONDAY)) == "once, on 2026-11-30 at 06:00 UTC"


def test_the_next_times_are_told_as_far_as_there_are_any() -> None:
    days = coming(Cron(expression="0 7 * * *", timezone="Europe/Berlin"), MONDAY)
    assert [day.isoformat() for day in days] == [
        "2026-12-01T06:00:00+00:00",
        "2026-12-02T06:00:00+00:00",
        "2026-12-03T06:00:00+00:00",
    ]
    assert coming(Once(at=MONDAY), MONDAY) == []
