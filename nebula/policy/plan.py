"""The steps that were fixed before anything from outside was read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Step:
    """A tool, and the values of those selectors that were fixed with it."""

    tool: str
    selectors: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What a request set out to do."""

    steps: tuple[Step, ...] = ()

    def holds(self, tool: str, arguments: Mapping[str, Any]) -> bool:
        """Say whether a call is one of the steps: the same tool, and every fixed value the same."""
        return any(
            step.tool == tool
            and all(_same(arguments.get(name), value) for name, value in step.selectors.items())
            for step in self.steps
        )


def _same(given: Any, fixed: Any) -> bool:
    # 1, 1.0 and True are equal in Python, and are different values here.
    return type(given) is type(fixed) and given == fixed
