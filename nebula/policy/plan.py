"""The steps of a request that were fixed before anything from outside was read.

A step fixes the tool and every value that decides where its effect goes: what it does not name was
fixed to be left out. Nothing that is read later, and no model that has read it, can add a step.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

MOST = 16
"""Steps of one request."""


@dataclass(frozen=True)
class Step:
    """One use of a tool, and the values of those selectors that were fixed with it."""

    tool: str
    selectors: Mapping[str, Any]
    id: str
    """Unique, so that it is used up when it has run."""
    by_words: bool = False
    """The person's own sentence says it; no model was asked."""


@dataclass(frozen=True)
class Plan:
    """What a request set out to do; each step happens once."""

    steps: tuple[Step, ...] = ()

    def of(self, tool: str) -> tuple[Step, ...]:
        """Return the steps that use a tool."""
        return tuple(step for step in self.steps if step.tool == tool)

    def and_then(self, steps: Iterable[Step]) -> "Plan":
        """Return the plan with more steps."""
        return Plan((*self.steps, *steps)[:MOST])


def written(plan: Plan) -> str:
    """Write a plan as a string: a thread keeps strings in its own row."""
    return json.dumps([asdict(step) for step in plan.steps]) if plan.steps else ""


def read(text: str) -> Plan:
    """Read a written plan; one that an older version wrote differently is none."""
    try:
        return Plan(tuple(Step(**step) for step in json.loads(text or "[]")))
    except (ValueError, TypeError):
        return Plan()
