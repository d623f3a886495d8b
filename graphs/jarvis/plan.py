"""The plan a person sees: said by the model when there are several steps, else what it does."""

from collections.abc import Sequence
from typing import Any, Literal

from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.messages import ToolMessage

from graphs.adapter import OwnTool
from graphs.context import TurnContext
from graphs.events import PlanEvent, PlanStep, ToolEvent
from graphs.schemas import function

NAME = "plan"
_STEPS = 8
_SCHEMA = function(
    NAME,
    "Show the person your plan. Call it together with the first step's tool, never alone.",
    {
        "type": "object",
        "properties": {
            "steps": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Short titles, in order",
            }
        },
        "required": ["steps"],
    },
)


async def _show(request: ToolCallRequest, turn: TurnContext) -> ToolMessage:
    said = request.tool_call["args"].get("steps")
    titles = [str(title)[:120] for title in said[:_STEPS]] if isinstance(said, list) else []
    turn.emit(PlanEvent(steps=[PlanStep(title=title) for title in titles]))
    return ToolMessage("shown", name=NAME, tool_call_id=str(request.tool_call["id"]))


PLAN_TOOL = OwnTool(_SCHEMA, _show)


class Plan:
    """Keeps the plan in step with the tool calls of a turn."""

    def __init__(self) -> None:
        """Begin without a plan."""
        self._said: list[str] = []
        self._calls: dict[str, ToolEvent] = {}

    def say(self, steps: Sequence[PlanStep]) -> PlanEvent:
        """Take the plan that the model gave."""
        self._said = [step.title for step in steps]
        return PlanEvent(steps=self._steps(over=False))

    def follow(self, call: ToolEvent) -> PlanEvent | None:
        """Take a call's state, and return the plan when it changed and is worth showing."""
        before = self._steps(over=False)
        self._calls[call.call_id] = call
        after = self._steps(over=False)
        return PlanEvent(steps=after) if after != before and len(after) > 1 else None

    def finish(self) -> PlanEvent | None:
        """Return the plan at the end of an answered turn, when one was shown."""
        steps = self._steps(over=True)
        changed = steps != self._steps(over=False)
        return PlanEvent(steps=steps) if changed and len(steps) > 1 else None

    def _steps(self, *, over: bool) -> list[PlanStep]:
        calls = list(self._calls.values())
        if not self._said:
            return [PlanStep(title=_title(call), status=call.status) for call in calls]
        steps = []
        for at, title in enumerate(self._said):
            status: Any = calls[at].status if at < len(calls) else _rest(over=over)
            steps.append(PlanStep(title=title, status=status))
        return steps


def _rest(*, over: bool) -> Literal["done", "pending"]:
    return "done" if over else "pending"


def _title(call: ToolEvent) -> str:
    return call.name.replace("_", " ").capitalize()
