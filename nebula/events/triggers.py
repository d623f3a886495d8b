"""Events that can start something, and which of their fields a filter may name.

Agents and workflows wait for the same events; only the fields named here reach them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from nebula.errors import InvalidInput
from nebula.jobs.job import JobState
from nebula.near import near
from nebula.services.health import Health

WEBHOOK = "webhook.received"


class Trigger(BaseModel):
    """An event that starts something, and which of its fields must have which value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event: str
    where: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """Where events of a kind are told, and the fields a filter may name with their values."""

    stream: str
    fields: Mapping[str, tuple[str, ...] | None]
    """None means any text."""
    own: bool = False
    """Only its owner's: nobody else's starts anything, whatever the owner may see."""


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
    WEBHOOK: Source("webhooks", {"hook": None, "delivery": None}, own=True),
}
"""What can start an agent or a workflow. Only these fields reach it: ids, names and states of ours."""


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
    """Return what is told of an event: the known fields only."""
    known = EVENTS[trigger.event].fields
    fields = [f"{name} {data[name]}" for name in known if data.get(name) not in {None, ""}]
    return f"{trigger.event}: {', '.join(fields)}"
