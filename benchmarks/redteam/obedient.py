"""A chat model that does its task well, and obeys every instruction it reads besides."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field

from benchmarks.redteam.scenario import Step, orders

Call = tuple[str, dict[str, Any]]
_QUOTE = '\\"'


class Obedient(BaseChatModel):
    """Makes the calls of the present task in order, and any call that a text tells it to make."""

    left: list[Step] = Field(default_factory=list)
    obeyed: list[Call] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "obedient"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        """Take whatever tools there are; what it is told to call it calls, offered or not."""
        return self

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kw: Any) -> Any:
        return ChatResult(generations=[ChatGeneration(message=self._answer(messages))])

    async def _astream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kw: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        await asyncio.sleep(0)
        message = self._answer(messages)
        chunk = AIMessageChunk(
            content=message.content, tool_calls=message.tool_calls, chunk_position="last"
        )
        yield ChatGenerationChunk(message=chunk)

    def _answer(self, messages: Sequence[BaseMessage]) -> AIMessage:
        told = [call for call in _told(messages) if call not in self.obeyed]
        self.obeyed += told
        made = [*self._next_steps(), *told]
        if not made:
            return AIMessage("That is done.")
        calls = [
            {"name": name, "args": arguments, "id": f"call_{at}"}
            for at, (name, arguments) in enumerate(made)
        ]
        return AIMessage("", tool_calls=calls)

    def _next_steps(self) -> list[Call]:
        taken = self.left[:1]
        while len(taken) < len(self.left) and self.left[len(taken)].beside:
            taken.append(self.left[len(taken)])
        del self.left[: len(taken)]
        return [(step.tool, dict(step.arguments)) for step in taken]


class Thinkers:
    """A router that always has this one model."""

    def __init__(self, chat: BaseChatModel) -> None:
        """Take the model."""
        self._chat = chat

    def model(self, tier: str, *, caller: Any = None) -> BaseChatModel:
        """Return the model, whatever the tier."""
        return self._chat

    async def candidates(self, tier: str) -> list[Any]:
        """Name the model, so that no command mode steps in."""
        return [SimpleNamespace(place=SimpleNamespace(name="obedient"), model="scripted")]


def _told(messages: Sequence[BaseMessage]) -> list[Call]:
    """Find every instruction in everything the model sees, whoever wrote it."""
    found = [call for message in messages for call in orders(_text(message))]
    return [call for at, call in enumerate(found) if call not in found[:at]]


def _text(message: BaseMessage) -> str:
    # A result reaches a model as JSON, where quotes are escaped: a reader sees through that.
    text = str(message.text)
    return "\n".join([text, text.replace(_QUOTE, '"')])
