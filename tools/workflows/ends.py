"""How the steps of a block, or the rounds of a loop, make one end together. Pure."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tools.workflows.outcome import SKIPPED, Outcome, Parked, earliest
from tools.workflows.spec import Step


@dataclass
class Ends:
    """How the steps of a block have ended so far."""

    ended: dict[str, Outcome] = field(default_factory=dict)
    parked: list[Parked] = field(default_factory=list)
    failed: str = ""

    def ready(self, left: Sequence[Step], needs: Mapping[str, Sequence[str]]) -> list[Step]:
        """Return what can begin: all that it needs has ended, and nothing has stopped the block."""
        if self.failed:
            return []
        return [step for step in left if all(need in self.ended for need in needs[step.id])]

    def take(self, step: Step, task: asyncio.Task[Outcome]) -> None:
        """Take the end of a step, or that it waits."""
        try:
            outcome = self.ended[step.id] = task.result()
        except Parked as waiting:
            self.parked.append(waiting)
            return
        if not outcome.ok and step.on_failure == "stop":
            self.failed = self.failed or f"{step.id}: {outcome.error}"

    def outcome(self) -> Outcome:
        """Return the end of the block; raises Parked while a step of it waits."""
        if self.parked:
            raise earliest(self.parked)
        result = {step_id: outcome.result for step_id, outcome in self.ended.items()}
        state = "failed" if self.failed else "done"
        return Outcome(state, result, self.failed, within=seen(self.ended))


def gathered(ends: Sequence[Any]) -> Outcome:
    """Return the end of a loop over a list; raises Parked while a round of it waits."""
    if parked := [each for each in ends if isinstance(each, Parked)]:
        raise earliest(parked)
    found = [each for each in ends if isinstance(each, Outcome)]
    wrong = [each for each in found if not each.ok]
    results = [each.result for each in found]
    if not wrong:
        return Outcome("done", error="", results=results, rounds=len(found))
    said = f"{len(wrong)} of {len(ends)} failed: {wrong[0].error}"
    state = "unknown" if any(each.state == "unknown" for each in wrong) else "failed"
    return Outcome(state, error=said, results=results, rounds=len(found))


def seen(ended: Mapping[str, Outcome]) -> dict[str, dict[str, Any]]:
    """Return what expressions see of ended steps, and of those within them."""
    found: dict[str, dict[str, Any]] = {}
    for step_id, outcome in ended.items():
        found |= {**outcome.within, step_id: outcome.seen()}
    return found


def nothing(step: Step, like: Outcome = SKIPPED) -> dict[str, dict[str, Any]]:
    """Return the steps in a block that was not done, each as left out itself, or as given."""
    if step.block is None or step.loops:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for inner in step.block:
        found |= {**nothing(inner, like), inner.id: like.seen()}
    return found
