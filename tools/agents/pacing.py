"""Whether a run may be now, and how long a failing agent waits. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from tools.agents.spec import Limits

_FIRST_PAUSE = timedelta(minutes=1)
_LONGEST_PAUSE = timedelta(days=1)
_MOST_QUEUED = 10


@dataclass(frozen=True)
class Present:
    """An agent at the moment a run is asked for."""

    name: str
    enabled: bool
    stopped_because: str
    overlap: str
    not_before: datetime | None
    running: int
    queued: int
    runs_today: int
    money_today: Decimal
    now: datetime


def refusal(agent: Present, limits: Limits, *, by_itself: bool, dry_run: bool) -> str:
    """Say why no run may be now; empty when it may.

    A person may try out a dry run of one that is switched off, and start one that backs off.
    """
    if not agent.enabled and (by_itself or not dry_run):
        return f"{agent.name} is switched off: {agent.stopped_because}"
    if by_itself and agent.not_before is not None and agent.now < agent.not_before:
        return f"{agent.name} failed lately and waits until {agent.not_before:%Y-%m-%d %H:%M} UTC."
    if agent.overlap == "skip" and agent.running + agent.queued > 0:
        return f"{agent.name} is still at work on an earlier run."
    if agent.queued >= _MOST_QUEUED:
        return f"{_MOST_QUEUED} runs of {agent.name} wait already."
    return spent(agent, limits)


def spent(agent: Present, limits: Limits) -> str:
    """Say which limit of 24 hours is used up; empty when none is."""
    if agent.runs_today >= limits.runs_per_day:
        return f"{agent.name} has had its {limits.runs_per_day} runs of 24 hours."
    if limits.money_per_day is not None and agent.money_today >= limits.money_per_day:
        return f"{agent.name} has spent its {limits.money_per_day} of 24 hours."
    return ""


def pause_after(failures: int) -> timedelta:
    """Return how long an agent waits after so many failures in a row: doubling, up to a day."""
    doubled: int = 1 << min(max(failures - 1, 0), 20)
    return min(_FIRST_PAUSE * doubled, _LONGEST_PAUSE)
