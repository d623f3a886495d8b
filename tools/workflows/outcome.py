"""How a step ended, as the steps after it see it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tools.workflows.models import WorkflowStepRow


@dataclass(frozen=True)
class Outcome:
    """The end of a step; one that was left out has no result."""

    state: str
    result: Any = None
    error: str = ""
    results: list[Any] | None = None
    """Of the rounds of a loop over a list."""
    rounds: int | None = None
    within: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The steps in a block, for those after it."""

    @property
    def ok(self) -> bool:
        """Say whether the step did what it should, or was left out."""
        return self.state in {"done", "skipped"}

    def seen(self) -> dict[str, Any]:
        """Return what expressions see of it."""
        found: dict[str, Any] = {"state": self.state, "ok": self.ok, "error": self.error}
        if self.rounds is not None:
            found["rounds"] = self.rounds
        if self.results is not None:
            return {**found, "results": self.results}
        return {**found, "result": self.result}


SKIPPED = Outcome("skipped")
NOT_BEGUN = Outcome("cancelled", error="The run was cancelled.")


def told(row: "WorkflowStepRow") -> Outcome:
    """Return what has become of a try."""
    if row.state == "done":
        return Outcome("done", row.result)
    return Outcome(row.state, error=str((row.error or {}).get("detail", "")))


class Parked(Exception):
    """The run cannot go on before somebody answers, a job ends, or a moment comes."""

    def __init__(self, wake_at: datetime | None = None) -> None:
        """Take when to look again, where that is known."""
        super().__init__()
        self.wake_at = wake_at


class Spent(Exception):
    """The run has worked as long as it may."""


def earliest(parked: "list[Parked]") -> Parked:
    """Return the one that wakes first."""
    moments = [each.wake_at for each in parked if each.wake_at is not None]
    return Parked(min(moments, default=None))
