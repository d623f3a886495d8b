"""Command mode as a chat model, so that the whole graph runs without a language model."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    CallbackManagerForLLMRun,
)
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, ValidationError

from nebula.auth.principal import Caller
from nebula.llm.command.answers import Call, Choices
from nebula.llm.command.mode import CommandMode
from nebula.tool.registry import Registry
from nebula.tool.render import to_markdown
from nebula.tool.result import Result

CHOICES = "choices"
"""The key of an AI message's additional_kwargs that holds the question asked."""


class CommandModel(BaseChatModel):
    """Answers the last message of a person; after tool results, shows them."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    mode: CommandMode
    registry: Registry
    caller: Caller | None = None

    @property
    def _llm_type(self) -> str:
        return "command"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": "command"}

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,  # noqa: ARG002 - nothing here can be forced
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools; only those of the registry are understood, by their names."""
        names = [convert_to_openai_tool(tool)["function"]["name"] for tool in tools]
        return self.bind(bound=tuple(names), **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        return asyncio.run(self._agenerate(messages, stop, None, **kwargs))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        message = await self._answer(messages, kwargs.get("bound", ()))
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in _chunks(await self._answer(messages, kwargs.get("bound", ()))):
            yield chunk

    async def _answer(self, messages: Sequence[BaseMessage], bound: Sequence[str]) -> AIMessage:
        results = _results(messages)
        if results:
            return _said("\n\n".join(shown(message) for message in results))
        text = _asked_text(messages)
        if text is None:
            return _said("")
        tools = [self.registry.get(name) for name in bound if name in self.registry]
        answer = await self.mode.interpret(text, tools, self.caller, pending=_pending(messages))
        if isinstance(answer, Call):
            return _calling(answer)
        if isinstance(answer, Choices):
            return _said(to_markdown([answer]), choices=answer)
        return _said(answer.text)


def shown(message: ToolMessage) -> str:
    """Return a tool message as Markdown: its result's own rendering where it carries one."""
    artifact = message.artifact
    if isinstance(artifact, Result):
        return str(to_markdown(artifact.render()))
    if isinstance(artifact, str) and artifact:
        return artifact
    if isinstance(artifact, dict) and isinstance(artifact.get("markdown"), str):
        return str(artifact["markdown"])
    return str(message.text)


def _results(messages: Sequence[BaseMessage]) -> list[ToolMessage]:
    """Return the tool messages at the end of the conversation, oldest first."""
    found: list[ToolMessage] = []
    for message in reversed(messages):
        if not isinstance(message, ToolMessage):
            break
        found.insert(0, message)
    return found


def _asked_text(messages: Sequence[BaseMessage]) -> str | None:
    if not messages or isinstance(messages[-1], AIMessage):
        return None
    person = [message for message in messages if isinstance(message, HumanMessage)]
    return str(person[-1].text) if person else None


def _pending(messages: Sequence[BaseMessage]) -> Choices | None:
    """Return the question that the last message of a person may answer."""
    last = next((m for m in reversed(messages) if isinstance(m, AIMessage)), None)
    if last is None or CHOICES not in last.additional_kwargs:
        return None
    try:
        return Choices.model_validate(last.additional_kwargs[CHOICES])
    except ValidationError:
        return None  # written by an older version


def _calling(call: Call) -> AIMessage:
    made = {"name": call.name, "args": call.arguments, "id": f"call_{uuid.uuid4().hex[:16]}"}
    return AIMessage(content="", tool_calls=[{**made, "type": "tool_call"}], **_FACTS)


def _said(text: str, *, choices: Choices | None = None) -> AIMessage:
    extra = {CHOICES: choices.model_dump(mode="json")} if choices is not None else {}
    return AIMessage(content=text, additional_kwargs=extra, **_FACTS)


_FACTS: dict[str, Any] = {
    "response_metadata": {"provider": "command", "model_name": "command"},
    "usage_metadata": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0},
}


def _chunks(message: AIMessage) -> Iterator[ChatGenerationChunk]:
    """Split an answer by lines, as a model would stream it; a call comes in one piece."""
    lines = str(message.text).splitlines(keepends=True) or [""]
    for line in lines[:-1]:
        yield ChatGenerationChunk(message=AIMessageChunk(content=line))
    calls = [
        {"name": call["name"], "args": json.dumps(call["args"]), "id": call["id"], "index": index}
        for index, call in enumerate(message.tool_calls)
    ]
    last = AIMessageChunk(
        content=lines[-1],
        additional_kwargs=message.additional_kwargs,
        tool_call_chunks=[{**call, "type": "tool_call_chunk"} for call in calls],
        chunk_position="last",
        **_FACTS,
    )
    yield ChatGenerationChunk(message=last)
