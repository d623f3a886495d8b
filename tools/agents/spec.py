"""What an agent is: the fields that a person gives, and the events it may wait for."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from nebula.errors import InvalidInput
from nebula.jobs.job import JobState
from nebula.services.health import Health

NAME = r"^[a-z][a-z0-9-]{1,39}$"
LONGEST_PURPOSE = 2_000
"""Characters; longer text would vouch for nothing that it names."""


class Limits(BaseModel):
    """How far one run goes, how much a day may cost, and when the agent is switched off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(12, ge=1, le=50, description="Rounds of tool calls in one run")
    minutes: float = Field(
        15.0, gt=0, le=240, description="Minutes of one run, without waiting for a person"
    )
    tokens: int = Field(100_000, ge=500, le=10_000_000, description="Tokens of one run")
    runs_per_day: int = Field(50, ge=1, le=1_000, description="Runs in 24 hours")
    money_per_day: Decimal | None = Field(
        None, ge=0, description="What its calls may cost in 24 hours, in the operator's currency"
    )
    failures: int = Field(5, ge=1, le=50, description="Failed runs in a row that switch it off")


class Trigger(BaseModel):
    """An event that starts the agent, and which of its fields must have which value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event: str
    where: dict[str, str] = Field(default_factory=dict)


class Spec(BaseModel):
    """An agent as a person describes it; ready-made agents are files of these."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME)
    purpose: str = Field(min_length=10, max_length=LONGEST_PURPOSE)
    features: list[str] = Field(default_factory=list, max_length=20)
    tools: list[str] = Field(default_factory=list, max_length=16)
    tier: Literal["small", "large"] = "large"
    limits: Limits = Limits()
    overlap: Literal["skip", "queue"] = "skip"
    cron: str | None = None
    timezone: str = "UTC"
    trigger: Trigger | None = None
    report_to: str | None = None
    report_when: Literal["always", "news", "problems"] = "always"


@dataclass(frozen=True)
class Source:
    """Where events of a kind are told, and the fields a filter may name with their values."""

    stream: str
    fields: Mapping[str, tuple[str, ...] | None]
    """None means any text."""


_STATES = tuple(state.value for state in JobState)
_HEALTH = tuple(state.value for state in Health)

EVENTS: Mapping[str, Source] = {
    "job.changed": Source("jobs", {"id": None, "tool": None, "state": _STATES}),
    "services.health_changed": Source(
        "services", {"service": None, "node": None, "before": _HEALTH, "now": _HEALTH}
    ),
    "node.joined": Source("nodes", {"node": None}),
    "node.online": Source("nodes", {"node": None}),
    "node.removed": Source("nodes", {"node": None}),
    "approval.requested": Source("approvals", {"id": None, "tool": None}),
}
"""The events that can start an agent. Only these fields reach it: ids, names and states of ours."""


def source_of(trigger: Trigger) -> Source:
    """Return where a trigger listens.

    Raises:
        InvalidInput: for an unknown event, field or value, with the nearest that there is.
    """
    source = EVENTS.get(trigger.event)
    if source is None:
        raise InvalidInput(
            f"There is no event {trigger.event!r} to wait for", hint=near(trigger.event, EVENTS)
        )
    for field, value in trigger.where.items():
        if field not in source.fields:
            raise InvalidInput(
                f"{trigger.event} has no field {field!r}", hint=near(field, source.fields)
            )
        known = source.fields[field]
        if known is not None and value not in known:
            raise InvalidInput(f"{field} is never {value!r}", hint=near(value, known))
    return source


def matches(trigger: Trigger, kind: str, data: Mapping[str, Any]) -> bool:
    """Say whether an event is one that the trigger waits for."""
    return kind == trigger.event and all(
        str(data.get(field, "")) == value for field, value in trigger.where.items()
    )


def told(trigger: Trigger, data: Mapping[str, Any]) -> str:
    """Return what an agent is told of its event: the known fields only."""
    known = EVENTS[trigger.event].fields
    fields = [f"{name} {data[name]}" for name in known if data.get(name) not in {None, ""}]
    return f"{trigger.event}: {', '.join(fields)}"


def near(word: str, known: Any, most: int = 8) -> str:
    """Return a hint that names the nearest known words, or some of them."""
    names = sorted(map(str, known))
    close = get_close_matches(word, names, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return (
        f"There is: {', '.join(names[:most])}{', …' if len(names) > most else ''}." if names else ""
    )
