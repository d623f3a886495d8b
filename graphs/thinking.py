"""One model call: which tools it sees, how its words stream, and when it must stop."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from uuid import uuid4

from langchain.agents.middleware import AgentMiddleware
from langchain.agents.middleware.types import ModelRequest, ModelResponse
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    AnyMessage,
    BaseMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.ai import add_ai_message_chunks
from langsmith.utils import tracing_is_enabled
from pydantic import TypeAdapter

from graphs.context import ThreadState, TurnContext
from graphs.events import MessageEvent, TokenEvent
from graphs.schemas import Schemas
from nebula.llm.routed import RoutedChatModel
from nebula.tool.render import to_markdown
from nebula.tool.result import Block, Choices

_BLOCKS: TypeAdapter[list[Block]] = TypeAdapter(list[Block])
_AT_ONCE = 8
"""Tool calls of one model answer that are run; a model that wants more asks again."""
_OLD_RESULT = 600
"""Characters of an earlier request's tool result that are sent again."""
_WRAP_UP = (
    "You have used all {steps} steps of this request and have no tools left. Say what is done and "
    "what is left, and ask whether to go on."
)
_SPENT = "I stopped: the tokens of this run are used up. What is left was not done."
_STOPPED = "I stopped after {steps} steps. Say “go on” and I continue from here."


class Thinking(AgentMiddleware[ThreadState, TurnContext]):
    """Calls the turn's model with the turn's tools; plain commands need no model."""

    state_schema = ThreadState

    def __init__(self, schemas: Schemas) -> None:
        """Take the schemas of every tool there is."""
        super().__init__()
        self._schemas = schemas

    async def awrap_model_call(
        self,
        request: ModelRequest[TurnContext],
        handler: Callable[[ModelRequest[TurnContext]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Answer with the model, or from the typed command; LangChain's own call is left out."""
        del handler
        turn = request.runtime.context
        assert turn is not None
        plain = _plain_answer(request.messages, str(request.state.get("plain", "")), turn)
        answer = plain or await self._asked(request, turn)
        return ModelResponse(result=[answer])

    async def _asked(self, request: ModelRequest[TurnContext], turn: TurnContext) -> AIMessage:
        if turn.allowance is not None and turn.meter.tokens >= turn.allowance.tokens:
            turn.meter.stopped = "It stopped: its tokens are used up."
            turn.emit(MessageEvent(message_id=_message_id(turn), text=_SPENT))
            return AIMessage(_SPENT)
        steps = turn.profile.limits.steps
        exhausted = _rounds(request.messages) >= steps
        instructions = turn.profile.instructions
        if exhausted:
            instructions = f"{instructions}\n{_WRAP_UP.format(steps=steps)}"
        names = [] if exhausted else str(request.state.get("offered", "")).split()
        tools = self._schemas.of(names)
        history = [SystemMessage(instructions), *_shortened(request.messages)]
        answer = await _streamed(_chunks(turn.model, history, tools), turn)
        if exhausted and (answer.tool_calls or not answer.text.strip()):
            answer = AIMessage(_STOPPED.format(steps=steps))
            turn.meter.stopped = f"It stopped: its {steps} steps are used up."
        answer = _own_ids(answer)
        if text := answer.text.strip():
            turn.emit(
                MessageEvent(message_id=_message_id(turn), text=text, blocks=_choices(answer))
            )
        return answer


def _chunks(
    model: BaseChatModel, history: Sequence[BaseMessage], tools: Sequence[dict[str, Any]]
) -> AsyncIterator[AIMessageChunk]:
    """Ask the model; the callbacks of LangChain's own way are for who traces."""
    if isinstance(model, RoutedChatModel) and not tracing_is_enabled():
        return model.answer(history, tools)
    bound: Any = model.bind_tools(tools) if tools else model
    asked: AsyncIterator[AIMessageChunk] = bound.astream(list(history))
    return asked


async def _streamed(asked: AsyncIterator[AIMessageChunk], turn: TurnContext) -> AIMessage:
    turn.meter.model_calls += 1
    chunks: list[AIMessageChunk] = []
    restarted = False
    async for chunk in asked:
        if chunk.response_metadata.get("restart"):
            # Another provider begins the message anew.
            chunks, restarted = [], True
        chunks.append(chunk)
        if chunk.text or restarted:
            turn.emit(TokenEvent(message_id=_message_id(turn), text=chunk.text, restart=restarted))
            restarted = False
    if not chunks:
        return AIMessage("")
    whole = add_ai_message_chunks(*chunks) if len(chunks) > 1 else chunks[0]
    _count(whole, turn)
    return AIMessage(
        content=whole.content,
        additional_kwargs=whole.additional_kwargs,
        response_metadata=whole.response_metadata,
        tool_calls=whole.tool_calls,
        invalid_tool_calls=whole.invalid_tool_calls,
        usage_metadata=whole.usage_metadata,
    )


def _count(message: AIMessageChunk, turn: TurnContext) -> None:
    turn.meter.model = str(message.response_metadata.get("model_name", turn.meter.model))
    if usage := message.usage_metadata:
        turn.meter.prompt_tokens += usage["input_tokens"]
        turn.meter.completion_tokens += usage["output_tokens"]


def _plain_answer(
    messages: Sequence[AnyMessage], plain: str, turn: TurnContext
) -> AIMessage | None:
    """Make the call that the person typed, and show its result as it is."""
    last = messages[-1]
    if last.type == "human" and plain and turn.command is not None:
        name, arguments = turn.command
        return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": plain}])
    if not (isinstance(last, ToolMessage) and plain and last.tool_call_id == plain):
        return None
    artifact = last.artifact or {}
    blocks = _BLOCKS.validate_python(artifact.get("blocks", []))
    text = str(artifact.get("markdown", ""))
    message = MessageEvent(message_id=_message_id(turn), text=text, blocks=blocks)
    if (once := turn.shown_once.get(plain)) is not None:
        live = message.model_copy(update={"text": to_markdown(once), "blocks": once})
        message = message.seen_as(live)
    turn.emit(message)
    return AIMessage(text)


def _own_ids(message: AIMessage) -> AIMessage:
    """Give every call an id of ours: models repeat theirs, and an id decides about replay."""
    if not (message.tool_calls or message.invalid_tool_calls):
        return message
    calls = [{**call, "id": _new_id()} for call in message.tool_calls[:_AT_ONCE]]
    invalid = [{**call, "id": _new_id()} for call in message.invalid_tool_calls[:_AT_ONCE]]
    extra = {key: value for key, value in message.additional_kwargs.items() if key != "tool_calls"}
    return message.model_copy(
        update={"tool_calls": calls, "invalid_tool_calls": invalid, "additional_kwargs": extra}
    )


def _new_id() -> str:
    return f"call_{uuid4().hex[:16]}"


def _message_id(turn: TurnContext) -> str:
    return f"{turn.turn_id}-{turn.caller.agent or 'jarvis'}-{turn.meter.model_calls}"


def _choices(message: AIMessage) -> list[Block]:
    asked = message.additional_kwargs.get("choices")
    if not isinstance(asked, dict):
        return []
    return [Choices(question=asked["question"], options=asked["options"])]


def _rounds(messages: Sequence[AnyMessage]) -> int:
    """Count the rounds of tool calls since the person last spoke."""
    count = 0
    for message in reversed(messages):
        if message.type == "human":
            break
        count += isinstance(message, AIMessage) and bool(message.tool_calls)
    return count


def _shortened(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """Cut tool results of earlier requests: their point is in the answers that followed."""
    now = next((i for i in range(len(messages) - 1, -1, -1) if messages[i].type == "human"), 0)
    return [
        _cut(message)
        if at < now and isinstance(message, ToolMessage) and len(message.text) > _OLD_RESULT
        else message
        for at, message in enumerate(messages)
    ]


def _cut(message: ToolMessage) -> ToolMessage:
    closing = "\n</outside>" if message.text.endswith("</outside>") else ""
    return ToolMessage(
        content=f"{message.text[:_OLD_RESULT]}… (cut){closing}",
        name=message.name,
        tool_call_id=message.tool_call_id,
        status=message.status,
    )
