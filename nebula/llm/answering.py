"""One model call, asked of one provider after another until one answers well.

A reader may already have seen half a message when its provider breaks. The next attempt then
begins with a chunk whose `response_metadata` holds `restart: True`: whoever shows tokens drops
what this message had streamed so far. The last chunk names `provider` and `model_name`.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol

from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGenerationChunk

from nebula.auth.principal import Caller
from nebula.errors import NebulaError, NoModel, UpstreamRejected
from nebula.llm.failure import AttemptFailed, ContextOverflow, Why
from nebula.llm.place import Place
from nebula.llm.provider import COMMAND, Prompt
from nebula.llm.settings import LlmSettings
from nebula.llm.usage import CallRecord, Usage, now

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel

RESTART: Final = "restart"
_QUALITY: Final = frozenset({Why.MALFORMED, Why.OVERFLOW})
"""Failures of the conversation and not of the provider: command mode would not answer them."""
_REPAIR: Final = (
    "Your last answer could not be used: {problem} "
    "Answer again; arguments of a tool call must be one JSON object that fits its schema."
)


@dataclass(frozen=True)
class Candidate:
    """A model to ask, and where."""

    place: Place
    model: str

    @property
    def context(self) -> int | None:
        """Return its context in tokens, where we set it."""
        return self.place.provider.context(self.model)


class Models(Protocol):
    """The part of the router that a call needs."""

    limits: LlmSettings
    usage: Usage

    async def candidates(self, tier: str) -> list[Candidate]:
        """Return the models to ask now, best first."""
        ...

    def command_model(self, caller: Caller | None) -> "BaseChatModel | None":
        """Return command mode as a chat model."""
        ...

    def using(
        self, provider: str, model: str, caller: Caller | None
    ) -> AbstractAsyncContextManager[None]:
        """Hold a model while it answers; raises AttemptFailed when its card is not free."""
        ...


@dataclass
class Answering:
    """One call of a tier's model."""

    models: Models
    tier: str
    caller: Caller | None
    prompt: Prompt
    failures: list[AttemptFailed] = field(default_factory=list)

    async def stream(self) -> AsyncGenerator[ChatGenerationChunk, None]:
        """Yield the answer's chunks.

        Raises:
            ContextOverflow: the conversation fits no model.
            UpstreamRejected: a model called tools with unreadable arguments, twice.
            NoModel: nobody answers, and there is no command mode.
        """
        given = False
        candidates = await self.models.candidates(self.tier)
        for at, candidate in enumerate(candidates):
            prompt: Prompt | None = self.prompt
            for attempt in (1, 2):
                assert prompt is not None
                try:
                    async with aclosing(self._attempt(candidate, prompt)) as chunks:
                        async for chunk in _marked(chunks, restart=given):
                            given = True
                            yield chunk
                    return
                except AttemptFailed as failure:
                    last = at == len(candidates) - 1
                    prompt = await self._next(candidate, failure, attempt, last=last)
                if prompt is None:
                    break
        async with aclosing(self._command()) as chunks:
            async for chunk in _marked(chunks, restart=given):
                yield chunk

    async def _next(
        self, candidate: Candidate, failure: AttemptFailed, attempt: int, *, last: bool
    ) -> Prompt | None:
        """Return what to ask the same model again, or None to go on to the next."""
        self.failures.append(failure)
        if attempt == 1:
            wait = failure.retry_after
            if failure.why is Why.MALFORMED:
                return _with_complaint(self.prompt, failure)
            if failure.why is Why.EMPTY or (failure.why is Why.FAILED and last):
                return self.prompt
            if wait is not None and wait <= self.models.limits.rate_limit_seconds:
                await asyncio.sleep(wait)
                return self.prompt
        candidate.place.note(candidate.model, failure)
        return None

    async def _attempt(
        self, candidate: Candidate, prompt: Prompt
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        answer = _Answer()
        outcome = "cancelled"
        try:
            limit = candidate.context
            if limit is not None and prompt.tokens() > limit:
                raise AttemptFailed(Why.OVERFLOW, f"The model reads {limit} tokens at most")
            source = candidate.place.provider.stream(candidate.model, prompt.hidden())
            async with (
                self.models.using(candidate.place.name, candidate.model, self.caller),
                aclosing(_paced(source, self.models.limits)) as chunks,
            ):
                async for chunk in chunks:
                    if answer.take(chunk):
                        yield chunk
            answer.check()
            outcome = "ok"
            candidate.place.succeed()
            yield answer.ending(candidate.place.name, candidate.model)
        except AttemptFailed as failure:
            outcome = failure.why
            raise
        finally:
            self._record(candidate.place.name, candidate.model, outcome, answer)

    async def _command(self) -> AsyncGenerator[ChatGenerationChunk, None]:
        """Let command mode answer, where that can help; else say what went wrong."""
        model = self.models.command_model(self.caller)
        if model is None or any(failure.why in _QUALITY for failure in self.failures):
            raise self._error()
        answer = _Answer()
        names = tuple(_name(tool) for tool in self.prompt.tools)
        async for chunk in model._astream(list(self.prompt.messages), bound=names):
            answer.take(chunk, keep=True)
            yield chunk
        self._record(COMMAND, COMMAND, "ok", answer)

    def _error(self) -> NebulaError:
        reasons = {failure.why: failure for failure in self.failures}
        if Why.OVERFLOW in reasons:
            return ContextOverflow()
        if Why.MALFORMED in reasons:
            return UpstreamRejected(
                "The model called a tool with arguments that cannot be read, twice",
                hint="Say it in other words, or switch to a larger model.",
            )
        said = "; ".join(dict.fromkeys(str(failure) for failure in self.failures))
        return NoModel(
            f"No language model answers{': ' + said if said else ''}",
            hint="Start Ollama or set OPENAI_API_KEY; jarvis_status shows what is missing.",
        )

    def _record(self, provider: str, model: str, outcome: str, answer: "_Answer") -> None:
        principal = self.caller.principal.id if self.caller else None
        tokens: Mapping[str, int] = answer.usage or {}
        self.models.usage.record(
            CallRecord.model_construct(
                at=now(),
                provider=provider,
                model=model,
                tier=self.tier,
                outcome=str(outcome),
                principal_id=principal,
                session_id=self.caller.session_id if self.caller else None,
                input_tokens=tokens.get("input_tokens"),
                output_tokens=tokens.get("output_tokens"),
                first_token_seconds=answer.first,
                seconds=monotonic() - answer.started,
            )
        )


class _Answer:
    """What came so far, as far as judging the answer needs it."""

    def __init__(self) -> None:
        self.started = monotonic()
        self.first: float | None = None
        self.usage: Any = None
        self._text = False
        self._arguments: dict[object, list[str]] = {}
        self._names: dict[object, str] = {}

    def take(self, chunk: ChatGenerationChunk, *, keep: bool = False) -> bool:
        """Note a chunk and strip the vendor's extras; say whether a reader needs it."""
        message = chunk.message
        assert isinstance(message, AIMessageChunk)
        if message.usage_metadata:
            self.usage = message.usage_metadata
        if keep:
            return True
        # Assigning to these models is dear, and most chunks have no extras.
        if message.usage_metadata:
            message.usage_metadata = None
        if message.response_metadata:
            message.response_metadata = {}
        if message.id is not None:
            message.id = None
        if chunk.generation_info is not None:
            chunk.generation_info = None
        for piece in message.tool_call_chunks:
            key = piece["index"] if piece["index"] is not None else object()
            self._arguments.setdefault(key, []).append(piece["args"] or "")
            if piece["name"]:
                self._names[key] = piece["name"]
        self._text = self._text or bool(message.text.strip())
        useful = bool(message.content or message.tool_call_chunks)
        if useful and self.first is None:
            self.first = monotonic() - self.started
        return useful

    def check(self) -> None:
        """Raise AttemptFailed when the answer is empty or its arguments are no JSON objects."""
        if not (self._text or self._arguments):
            raise AttemptFailed(Why.EMPTY, "The model gave an empty answer")
        for key, pieces in self._arguments.items():
            problem = _problem("".join(pieces))
            if problem:
                name = self._names.get(key, "a tool")
                raise AttemptFailed(Why.MALFORMED, f"the arguments of {name} {problem}.")

    def ending(self, provider: str, model: str) -> ChatGenerationChunk:
        """Build the last chunk: who answered, and what it cost."""
        return ChatGenerationChunk(
            message=AIMessageChunk(
                content="",
                usage_metadata=self.usage,
                response_metadata={"provider": provider, "model_name": model},
                chunk_position="last",
            )
        )


def _problem(text: str) -> str:
    if not text.strip():
        return ""
    try:
        value = json.loads(text)
    except ValueError as error:
        return f"are not valid JSON ({error}): {text[:200]!r}"
    return "" if isinstance(value, dict) else f"are not a JSON object: {text[:200]!r}"


def _with_complaint(prompt: Prompt, failure: AttemptFailed) -> Prompt:
    said = HumanMessage(_REPAIR.format(problem=str(failure)))
    return replace(prompt, messages=[*prompt.messages, said])


def _name(tool: Mapping[str, Any]) -> str:
    return str(tool.get("function", {}).get("name", ""))


async def _marked(
    chunks: AsyncIterator[ChatGenerationChunk], *, restart: bool
) -> AsyncIterator[ChatGenerationChunk]:
    """Flag the first chunk when it takes back what was given out before."""
    async for chunk in chunks:
        if restart:
            chunk.message.response_metadata = {**chunk.message.response_metadata, RESTART: True}
            restart = False
        yield chunk


async def _paced(
    source: AsyncGenerator[ChatGenerationChunk, None], limits: LlmSettings
) -> AsyncGenerator[ChatGenerationChunk, None]:
    """Pass chunks on; a silence that is too long cancels the request.

    The limit is armed only while waiting for the model: time the reader takes does not count.
    """
    patience = limits.first_token_seconds
    async with aclosing(source):
        while True:
            try:
                async with asyncio.timeout(patience):
                    chunk = await anext(source, None)
            except TimeoutError as error:
                raise AttemptFailed(
                    Why.STALLED, f"The model said nothing for {patience:g} seconds"
                ) from error
            if chunk is None:
                return
            yield chunk
            patience = limits.stall_seconds
