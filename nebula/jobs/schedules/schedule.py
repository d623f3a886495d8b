"""A schedule as its owner sees it, and which of its ticks fire now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from nebula.jobs.schedules.timing import Cron, Every, Once, Timing, due_until, jitter_of, next_fire
from nebula.policy.labels import Label

MOST_CAUGHT_UP = 100
MOST_GRACE = 600.0
_FIRST_LOOK_BACK = timedelta(hours=1)


class Missed(StrEnum):
    """What happens to ticks that nobody was there to fire."""

    SKIP = "skip"
    ONCE = "once"
    """One run makes up for all of them."""
    ALL = "all"
    """Each is made up for, the latest `catch_up` of them."""


class Rights(BaseModel, frozen=True):
    """What the owner could do when the schedule was made: it never may more than that."""

    permissions: tuple[str, ...]
    denied: tuple[str, ...] = ()
    key_id: str | None = None


class Schedule(BaseModel, frozen=True):
    """What runs by itself, when, and as whom."""

    id: str
    name: str
    tool: str
    arguments: dict[str, Any]
    timing: Timing
    missed: Missed
    grace_seconds: float
    """A tick later than this counts as missed."""
    catch_up: int
    jitter_seconds: float
    priority: int
    enabled: bool
    stopped_because: str
    owner_id: str
    owner_name: str
    rights: Rights
    session_id: str | None
    labels: frozenset[Label] = frozenset({Label.USER})
    """What whoever made it, or changed its arguments, had read: every tick carries it."""
    next_due_at: datetime | None
    next_fire_at: datetime | None
    """`next_due_at` and its jitter."""
    last_fired_at: datetime | None
    created_at: datetime


class TickState(StrEnum):
    """What became of one tick."""

    FIRED = "fired"
    PROPOSED = "proposed"
    """It waits for a person's approval."""
    REFUSED = "refused"
    SKIPPED = "skipped"


class Tick(BaseModel, frozen=True):
    """One due moment of a schedule."""

    schedule_id: str
    due_at: datetime
    state: TickState
    job_id: str | None
    approval_id: str | None
    problem: str
    at: datetime


@dataclass(frozen=True)
class Plan:
    """Which due moments fire now, the last one that is given up, and the next to wait for."""

    fire: tuple[datetime, ...]
    given_up: datetime | None
    next_due: datetime | None


def plan(schedule: Schedule, now: datetime) -> Plan:
    """Decide about every tick that is due by now; a pure function of the two."""
    assert schedule.next_due_at is not None
    seconds = schedule.jitter_seconds
    pending = _recent(schedule, schedule.next_due_at, now)
    ready: list[datetime] = []
    for due in pending:
        if due + jitter_of(schedule.id, due, seconds) > now:
            return _decided(schedule, ready, now, next_due=due)
        ready.append(due)
    after = pending[-1] if pending else now
    return _decided(schedule, ready, now, next_due=next_fire(schedule.timing, after))


def _decided(
    schedule: Schedule, ready: Sequence[datetime], now: datetime, next_due: datetime | None
) -> Plan:
    grace = timedelta(seconds=schedule.grace_seconds + schedule.jitter_seconds)
    in_time = [due for due in ready if now - due <= grace]
    late = [due for due in ready if now - due > grace]
    match schedule.missed:
        case Missed.ALL:
            made_up = late[-schedule.catch_up :]
        case Missed.ONCE if not in_time:
            made_up = late[-1:]
        case _:
            made_up = []
    lost = [due for due in late if due not in made_up]
    return Plan((*made_up, *in_time), lost[-1] if lost else None, next_due)


def _recent(schedule: Schedule, first: datetime, now: datetime) -> list[datetime]:
    """Return the due moments up to now, of a long absence only the latest that can matter."""
    timing: Cron | Once | Every = schedule.timing
    look_back = _FIRST_LOOK_BACK
    while True:
        start = now - look_back
        if start <= first:
            return list(due_until(timing, first, now))
        begin = next_fire(timing, start)
        found = [] if begin is None else list(due_until(timing, begin, now))
        if len(found) > schedule.catch_up:
            return found
        look_back *= 4
