"""What expressions see at one place of the walk, and which of it a person vouches for. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tools.workflows.expressions.syntax import BadExpression, Name, parse, within
from tools.workflows.expressions.templates import found_in


@dataclass(frozen=True)
class Place:
    """What expressions see at one place of the walk."""

    values: Mapping[str, Any]
    steps: Mapping[str, Any] = field(default_factory=dict)
    vouched: frozenset[str] = frozenset({"run"})
    """The roots whose values the owner fixed, or whoever gave the inputs."""

    @property
    def all(self) -> dict[str, Any]:
        """Return every value by its root."""
        return {**self.values, "steps": self.steps}

    def after(self, steps: Mapping[str, Any]) -> "Place":
        """Return the place after some more steps."""
        return replace(self, steps={**self.steps, **steps})

    def within(self, values: Mapping[str, Any], *, vouched: bool) -> "Place":
        """Return the place inside a round of a loop."""
        names = frozenset(values)
        known = self.vouched | names if vouched else self.vouched - names
        return replace(self, values={**self.values, **values}, vouched=known)


def roots(text: str) -> frozenset[str]:
    """Return what an expression speaks of."""
    return frozenset(node.name for node in within(parse(text)) if isinstance(node, Name))


def roots_in(value: Any) -> frozenset[str]:
    """Return what the expressions of a value speak of; none for a value written out."""
    try:
        return frozenset().union(*(roots(each.text) for each in found_in(value)))
    except BadExpression:
        return frozenset({"unreadable"})
