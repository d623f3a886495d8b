"""The chat model that graphs use: providers in order behind one LangChain face.

`astream` yields chunks; a chunk whose `response_metadata` holds `restart: True` begins the
message anew. `ainvoke` returns only the good message; its tokens reach LangGraph's
`stream_mode="messages"` through callbacks, a restarted message under a new id (and flagged).
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.chat_models import (
    BaseChatModel,
    agenerate_from_stream,
)
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field

from nebula.auth.principal import Caller
from nebula.llm.answering import RESTART, Answering, Models
from nebula.llm.provider import Prompt

_OPTIONS = frozenset({"tool_choice", "response_format", "temperature"})


class RoutedChatModel(BaseChatModel):
    """One tier of the router, for one caller."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    models: Any = Field(exclude=True)
    tier: str
    caller: Any = Field(None, exclude=True)

    @classmethod
    def over(cls, models: Models, tier: str, caller: Caller | None) -> "RoutedChatModel":
        """Make the model of a tier; the fields are untyped only for pydantic."""
        return cls(models=models, tier=tier, caller=caller)

    @property
    def _llm_type(self) -> str:
        return "routed"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"tier": self.tier}

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools in OpenAI's shape, which every provider understands."""
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def get_num_tokens(self, text: str) -> int:
        """Estimate: no tokenizer may be fetched from the network."""
        return len(text) // 4 + 1

    def get_num_tokens_from_messages(
        self, messages: Sequence[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """Estimate: no tokenizer may be fetched from the network."""
        return Prompt(messages, tools or ()).tokens() + 4 * len(messages)

    def _should_stream(
        self,
        *,
        async_api: bool,
        run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> bool:
        # LangChain would merge every chunk, those of a failed attempt too, into one message.
        del async_api, run_manager
        return bool(kwargs.get("stream"))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        raise NotImplementedError("models are asked from async code only: use ainvoke or astream")

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        run_id = f"lc_run--{run_manager.run_id}" if run_manager else "lc_run"
        chunks: list[ChatGenerationChunk] = []
        message_id, restarts = run_id, 0
        async with aclosing(self._answering(messages, stop, kwargs).stream()) as source:
            async for chunk in source:
                if chunk.message.response_metadata.get(RESTART):
                    restarts += 1
                    chunks, message_id = [], f"{run_id}-{restarts}"
                chunk.message.id = message_id
                chunks.append(chunk)
                if run_manager is not None:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
        return await agenerate_from_stream(_each(chunks))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - the base reports
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async with aclosing(self._answering(messages, stop, kwargs).stream()) as source:
            async for chunk in source:
                yield chunk

    async def answer(
        self, messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]]
    ) -> AsyncGenerator[AIMessageChunk, None]:
        """Yield the answer's chunks as `astream` does, for who has no callbacks.

        `astream` configures callbacks and calls them for every chunk, also when there are none.
        """
        options = {"tools": list(tools)} if tools else {}
        async with aclosing(self._answering(list(messages), None, options).stream()) as source:
            async for chunk in source:
                assert isinstance(chunk.message, AIMessageChunk)
                yield chunk.message

    def _answering(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> Answering:
        options = {name: kwargs[name] for name in _OPTIONS & kwargs.keys()}
        prompt = Prompt(messages, kwargs.get("tools") or (), stop, options)
        return Answering(self.models, self.tier, self.caller, prompt)


async def _each(chunks: list[ChatGenerationChunk]) -> AsyncIterator[ChatGenerationChunk]:
    for chunk in chunks:
        yield chunk
