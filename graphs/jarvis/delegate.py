"""Sub-agents as tools: `ask_<agent>` runs one on a task, as the same person."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.messages import HumanMessage, ToolMessage
from langgraph.types import Command

from agents.profile import Profile
from graphs.adapter import Answer, OwnTool
from graphs.context import TurnContext, as_agent, joined
from graphs.events import ChatEvent, MessageEvent, StepEvent, TokenEvent
from graphs.schemas import function
from graphs.wording import delimited, error_text
from nebula.errors import InvalidInput, NebulaError
from nebula.policy.labels import Label

if TYPE_CHECKING:
    from graphs.jarvis.crew import Crew

_LONGEST_TASK = 4_000


def tool_name(agent: Profile) -> str:
    """Return the name by which the supervisor asks an agent."""
    return f"ask_{agent.name}"


@dataclass(frozen=True)
class _Delegate:
    """One sub-agent, ready to be asked."""

    agent: Profile
    crew: "Crew"

    async def run(self, request: ToolCallRequest, turn: TurnContext) -> Answer:
        """Let the agent work on the task, and return what it says."""
        call_id = str(request.tool_call["id"])
        task = str(request.tool_call["args"].get("task", "")).strip()[:_LONGEST_TASK]
        name = tool_name(self.agent)
        if not task:
            error = error_text(InvalidInput("Say what the agent shall do.", hint="task=…"))
            return ToolMessage(error, name=name, tool_call_id=call_id, status="error")
        turn.emit(StepEvent(id=call_id, name=self.agent.name, status="running", detail=task[:200]))
        try:
            done = await self._work(task, request, turn)
        except NebulaError as error:
            turn.emit(
                StepEvent(id=call_id, name=self.agent.name, status="failed", detail=str(error))
            )
            # What it had read until then is not known any more: it may have been anything.
            message = ToolMessage(
                delimited(error_text(error), self.agent.name),
                name=name,
                tool_call_id=call_id,
                status="error",
            )
            return Command(update={"messages": [message], "labels": Label.OUTSIDE.value})
        said = str(done["messages"][-1].text)
        turn.emit(StepEvent(id=call_id, name=self.agent.name, status="done", detail=said[:500]))
        labels = str(done.get("labels", ""))
        if Label.OUTSIDE in labels.split():
            said = delimited(said, self.agent.name)
        message = ToolMessage(
            said, name=name, tool_call_id=call_id, artifact={"markdown": said, "blocks": []}
        )
        return Command(update={"messages": [message], "labels": labels})

    async def _work(self, task: str, request: ToolCallRequest, turn: TurnContext) -> dict[str, Any]:
        caller = replace(as_agent(turn.caller, self.agent), agent=self.agent.name)
        tools = await self.crew.fitting(task, caller, self.agent, read_only=turn.read_only)
        working = replace(
            turn,
            caller=caller,
            profile=self.agent,
            model=self.crew.model(self.agent, caller),
            emit=_without_words(turn.emit),
            command=None,
        )
        task_state = {
            "messages": [HumanMessage(task)],
            "turn_id": turn.turn_id,
            "offered": joined(tools),
            # What the person said and settled is theirs; the task is what a model made of it.
            **{key: str(request.state.get(key, "")) for key in ("labels", "words", "plan")},
        }
        # On resume LangGraph runs this again and goes on inside, whatever the input is.
        result: dict[str, Any] = await self.crew.agent_graph.ainvoke(
            task_state, request.runtime.config, context=working
        )
        return result


def asking(agent: Profile, crew: "Crew") -> OwnTool:
    """Return the tool by which the supervisor asks a sub-agent."""
    schema = function(
        tool_name(agent),
        agent.purpose,
        {
            "type": "object",
            "properties": {"task": {"type": "string", "description": "All it needs to know"}},
            "required": ["task"],
        },
    )
    run: Callable[[ToolCallRequest, TurnContext], Awaitable[Answer]] = _Delegate(agent, crew).run
    return OwnTool(schema, run)


def _without_words(emit: Callable[[ChatEvent], None]) -> Callable[[ChatEvent], None]:
    """Pass on what an agent does, not what it says: that is for the supervisor."""

    def passed(event: ChatEvent) -> None:
        if not isinstance(event, TokenEvent | MessageEvent):
            emit(event)

    return passed
