"""Where LangGraph meets the executor: the one place that runs tools and the one with interrupt().

LangGraph carries the pause, never the authority. On resume it runs the node again from its start,
so the executor is asked again under the same call id; what the resume value says is not believed.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from langchain.agents.middleware import AgentMiddleware
from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.messages import ToolMessage
from langgraph.types import Command, interrupt

from graphs.context import ThreadState, TurnContext, joined, labels_of, plan_of, words_of
from graphs.events import JobEvent, ToolEvent
from graphs.schemas import Schema
from graphs.wording import delimited, error_markdown, error_text, result_text
from nebula.auth.principal import Caller
from nebula.errors import ApprovalRequired, NebulaError, NotFound, PermissionDenied, RateLimited
from nebula.jobs.job import JobHandle
from nebula.policy.labels import Label
from nebula.tool.arguments import checked
from nebula.tool.definition import AnyTool, Effect
from nebula.tool.render import to_markdown
from nebula.tool.result import Block, Markdown, Result

Answer = ToolMessage | Command[Any]

_NOTED = "Noted as wanted; a dry run does not do it. Go on as if it had been done."

_OURS = {
    "permission_denied",
    "invalid_input",
    "rate_limited",
    "paused",
    "timed_out",
    "internal_error",
    "not_authenticated",
}
"""Errors that the executor gives in its own words, whatever the tool reads."""


@dataclass(frozen=True)
class OwnTool:
    """Something the graph itself offers a model, beside the registry: no effect of its own."""

    schema: Schema
    run: Callable[[ToolCallRequest, TurnContext], Awaitable[Answer]]

    @property
    def name(self) -> str:
        """Return the name models call it by."""
        return str(self.schema["function"]["name"])


class ToolAdapter(AgentMiddleware[ThreadState, TurnContext]):
    """Runs every tool call of a graph through the executor, for the turn's caller."""

    state_schema = ThreadState

    def __init__(self, own: Iterable[OwnTool] = ()) -> None:
        """Take what the graph offers beside the registry's tools."""
        super().__init__()
        self._own: Mapping[str, OwnTool] = {tool.name: tool for tool in own}

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Answer]]
    ) -> Answer:
        """Run one call; LangChain's own handler, which knows no tool, is left out."""
        del handler
        turn = _turn(request)
        name = request.tool_call["name"]
        if name in self._own and name in _offered(request):
            return await self._own[name].run(request, turn)
        return await _run(request, turn)


async def _run(request: ToolCallRequest, turn: TurnContext) -> Answer:
    call = _Call.of(request, turn)
    try:
        tool = _allowed(request, turn)
        if turn.rehearsal and tool.effect is not Effect.READ:
            return _rehearsed(call, tool)
        _afford(call, tool)
        turn.emit(call.event("running"))
        result = await _executed(call, turn)
    except NebulaError as error:
        turn.emit(call.event("failed", error=error.payload()))
        return _failed(call, error, turn)
    kept = result.kept()
    blocks = list(kept.render())
    done = call.done(kept, blocks)
    if kept is not result:
        turn.shown_once[call.id] = list(result.render())
        done = done.seen_as(call.done(result, turn.shown_once[call.id]))
    turn.emit(done)
    if isinstance(result, JobHandle):
        turn.emit(
            JobEvent(
                job_id=result.job_id,
                tool=result.tool,
                state=result.state.value,
                message=result.message,
            )
        )
    outside = tool.outside and result.origin() is Label.OUTSIDE
    text = result_text(tool, kept, blocks, outside=outside)
    shown = {
        "markdown": to_markdown(blocks),
        "blocks": [block.model_dump(mode="json") for block in blocks],
    }
    labels = [*([Label.OUTSIDE] if outside else []), *([] if tool.public else [Label.PRIVATE])]
    return Command(update={"messages": [call.answer(text, shown)], "labels": joined(labels)})


def _failed(call: "_Call", error: NebulaError, turn: TurnContext) -> Answer:
    """Tell the model what went wrong; what may quote somebody else is marked like their text."""
    registry = turn.executor.registry
    reads = call.name in registry and registry.get(call.name).outside
    outside = error.outside or (reads and error.code not in _OURS)
    said = error_text(error)
    text = delimited(said, call.name) if outside else said
    message = call.answer(text, {"markdown": error_markdown(error)}, failed=True)
    if not outside:
        return message
    return Command(update={"messages": [message], "labels": joined([Label.OUTSIDE])})


def _rehearsed(call: "_Call", tool: AnyTool) -> Answer:
    """Note a call that a dry run would make, and let the model go on as if it were done."""
    checked(tool, call.arguments)
    said = "Not done: this is a dry run."
    call.turn.emit(call.event("done", blocks=[Markdown(text=said)], message=said))
    return call.answer(_NOTED, {"markdown": said, "blocks": []})


def _afford(call: "_Call", tool: AnyTool) -> None:
    """Refuse a call that costs more than an agent's day has left."""
    turn = call.turn
    if turn.allowance is None or turn.allowance.money is None or tool.cost is None:
        return
    cost = tool.cost(checked(tool, call.arguments))
    if turn.meter.money + cost > turn.allowance.money:
        raise RateLimited("This agent's money of 24 hours is used up.", hint="Report what is left.")
    turn.meter.money += cost


async def _executed(call: "_Call", turn: TurnContext) -> Result:
    while True:
        try:
            return await turn.executor.execute(
                call.name, call.arguments, caller=call.caller, call_id=call.scoped_id
            )
        except ApprovalRequired as waiting:
            turn.emit(call.event("waiting", message=str(waiting)))
            # Raises until the turn is resumed; then the executor is asked anew.
            interrupt({"approval_id": waiting.approval_id, "call_id": call.id})


def _allowed(request: ToolCallRequest, turn: TurnContext) -> AnyTool:
    """Return the tool when this turn offered it and this agent may use it."""
    name = request.tool_call["name"]
    plain = _is_plain(request)
    if name not in turn.executor.registry:
        raise NotFound(
            f"There is no tool {name[:80]!r}", hint="Use one of the tools you were given."
        )
    tool = turn.executor.registry.get(name)
    if not plain and name not in _offered(request):
        raise PermissionDenied(
            f"{name} is not among this request's tools.",
            hint="Use one of the tools you were given, or tell the person what to ask for.",
        )
    if turn.read_only and not plain and tool.effect is not Effect.READ:
        raise PermissionDenied(f"The person asked a question; {name} would change something.")
    if _calls_before(request) >= turn.profile.limits.calls:
        raise RateLimited("This request has used all its tool calls.", hint="Report what is left.")
    return tool


@dataclass(frozen=True)
class _Call:
    """One tool call on its way to the executor and back."""

    id: str
    name: str
    arguments: Mapping[str, Any]
    scoped_id: str
    caller: Caller
    turn: TurnContext

    @classmethod
    def of(cls, request: ToolCallRequest, turn: TurnContext) -> "_Call":
        call_id = str(request.tool_call["id"])
        call = cls(
            id=call_id,
            name=request.tool_call["name"],
            arguments=request.tool_call["args"],
            scoped_id=f"{turn.thread_id}:{call_id}",
            caller=turn.caller,
            turn=turn,
        )
        caller = replace(
            turn.caller,
            labels=labels_of(request.state, turn.caller),
            by_model=not _is_plain(request),
            progress=call.progress,
            words=words_of(request.state),
            plan=plan_of(request.state),
        )
        return replace(call, caller=caller)

    async def progress(self, fraction: float | None, message: str) -> None:
        """Pass on how far the call is."""
        self.turn.emit(self.event("running", progress=fraction, message=message))

    def event(self, status: str, **more: Any) -> ToolEvent:
        """Return what listeners hear of this call."""
        return ToolEvent.model_validate(
            {
                "call_id": self.id,
                "name": self.name,
                "agent": self.turn.caller.agent,
                "status": status,
                "arguments": dict(self.arguments),
                **more,
            }
        )

    def done(self, result: Result, blocks: list[Block]) -> ToolEvent:
        """Return what listeners hear when it has ended well."""
        told = result.model_dump(mode="json", exclude_none=True)
        return self.event("done", blocks=blocks, result=told)

    def answer(self, text: str, artifact: dict[str, Any], *, failed: bool = False) -> ToolMessage:
        """Return what the model hears of this call."""
        return ToolMessage(
            content=text,
            name=self.name,
            tool_call_id=self.id,
            artifact=artifact,
            status="error" if failed else "success",
        )


def _turn(request: ToolCallRequest) -> TurnContext:
    return cast("TurnContext", request.runtime.context)


def _offered(request: ToolCallRequest) -> list[str]:
    return str(request.state.get("offered", "")).split()


def _is_plain(request: ToolCallRequest) -> bool:
    """Say whether a person typed this very call: the turn's input names its id, no model can."""
    plain = request.state.get("plain", "")
    return bool(plain) and plain == request.tool_call["id"]


def _calls_before(request: ToolCallRequest) -> int:
    """Count this request's answered calls."""
    count = 0
    for message in reversed(request.state["messages"]):
        if message.type == "human":
            break
        count += message.type == "tool"
    return count
