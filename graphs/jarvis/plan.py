"""The plan a person sees: said by the model when there are several steps, else what it does."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.types import Command

from graphs.adapter import Answer, OwnTool
from graphs.context import TurnContext, labels_of, plan_of
from graphs.events import PlanEvent, PlanStep, ToolEvent
from graphs.jarvis.commitment import by_model
from graphs.schemas import function
from nebula.policy.labels import tainted
from nebula.policy.plan import written

NAME = "plan"
_STEPS = 8
_SCHEMA = function(
    NAME,
    "Show the person your plan, and fix its steps before you read anything. Call it together with "
    "the first step's tool, never alone.",
    {
        "type": "object",
        "properties": {
            "steps": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "title": {"type": "string", "description": "Short"},
                        "tool": {"type": "string", "description": "Of a step that changes things"},
                        "with": {"type": "object", "description": "Its arguments, as known now"},
                    },
                    "required": ["title"],
                },
                "description": "In order",
            }
        },
        "required": ["steps"],
    },
)


async def _show(request: ToolCallRequest, turn: TurnContext) -> Answer:
    said = request.tool_call["args"].get("steps")
    steps = said[:_STEPS] if isinstance(said, list) else []
    turn.emit(PlanEvent(steps=[PlanStep(title=_short_title(step)) for step in steps]))
    message = ToolMessage("shown", name=NAME, tool_call_id=str(request.tool_call["id"]))
    if tainted(labels_of(request.state, turn.caller)):
        # Whoever has read text from outside settles nothing any more.
        return message
    fixed = by_model(
        steps,
        plan_of(request.state),
        _beside(request),
        turn.executor.registry.get,
        f"{turn.turn_id}:{request.tool_call['id']}",
    )
    return Command(update={"messages": [message], "plan": written(fixed)})


def _short_title(step: Any) -> str:
    return str(step.get("title", "") if isinstance(step, Mapping) else step)[:120]


def _beside(request: ToolCallRequest) -> list[str]:
    """Name the tools that the same answer calls."""
    asked = next((m for m in reversed(request.state["messages"]) if m.type == "ai"), None)
    return [call["name"] for call in asked.tool_calls] if isinstance(asked, AIMessage) else []


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
