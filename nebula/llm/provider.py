"""What the router needs of a provider of language models."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from nebula.llm.failure import AttemptFailed, Why
from nebula.secrets.redact import LIVE

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk

COMMAND = "command"
"""The choice, and the provider's name, of command mode."""
AUTO = "auto"


@dataclass(frozen=True)
class Model:
    """A model that a provider has; sizes in billions of parameters, 0 when unknown."""

    name: str
    size: float = 0.0
    tools: bool = True
    vision: bool = False
    embedding: bool = False


@dataclass(frozen=True)
class Ref:
    """A model of a provider, written `provider:model`."""

    provider: str
    model: str

    @classmethod
    def parse(cls, text: str) -> "Ref":
        """Read `provider:model`; a model's own tag may hold another colon.

        Raises:
            ValueError: when either part is missing.
        """
        provider, separator, model = text.strip().partition(":")
        if not (provider and separator and model):
            raise ValueError(f"{text!r} is not provider:model")
        return cls(provider, model)

    def __str__(self) -> str:
        return f"{self.provider}:{self.model}"


@dataclass(frozen=True)
class Prompt:
    """One request to a model."""

    messages: "Sequence[BaseMessage]"
    tools: Sequence[Mapping[str, Any]] = ()
    stop: Sequence[str] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def hidden(self) -> "Prompt":
        """Return the request without any secret: models are told none, whatever they read."""
        # One search through all that is said: looking at every field of every message is dear.
        said = "\n".join(m.content for m in self.messages if isinstance(m.content, str))
        if not LIVE.found(said) and not any(map(_holds_secret, self.messages)):
            return self
        return replace(self, messages=[LIVE.value(message) for message in self.messages])

    def tokens(self) -> int:
        """Estimate the tokens from below: four characters each, as English text has."""
        said = sum(len(message.text) for message in self.messages)
        return (said + sum(len(str(tool)) for tool in self.tools)) // 4


def _holds_secret(message: "BaseMessage") -> bool:
    """Look at what a message holds beside plain text, as far as a provider would send it."""
    parts: list[Any] = [message.additional_kwargs]
    if not isinstance(message.content, str):
        parts.append(message.content)
    parts += [getattr(message, name, None) for name in ("tool_calls", "invalid_tool_calls")]
    return any(part and LIVE.value(part) is not part for part in parts)


class Provider(Protocol):
    """A place that runs language models."""

    name: str

    @property
    def address(self) -> str:
        """Return where it is, without credentials."""
        ...

    async def models(self) -> list[Model]:
        """List what it has; also the probe that finds out whether it is there.

        Raises:
            AttemptFailed: when it does not answer.
        """
        ...

    def context(self, model: str) -> int | None:
        """Return a model's context in tokens, where we set it ourselves."""
        ...

    def stream(self, model: str, prompt: Prompt) -> "AsyncGenerator[ChatGenerationChunk, None]":
        """Ask a model; every error of the client is translated to AttemptFailed."""
        ...

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """Turn texts into vectors.

        Raises:
            AttemptFailed: when it does not answer.
        """
        ...

    def warm(self) -> None:
        """Import what asking needs; slow, meant for a thread."""
        ...

    async def aclose(self) -> None:
        """Close its connections."""
        ...


def by_status(status: int, message: str, retry_after: float | None = None) -> AttemptFailed:
    """Classify an HTTP refusal by its status and text."""
    text = message.lower()
    if any(sign in text for sign in _OVERFLOW):
        return AttemptFailed(Why.OVERFLOW, "The conversation does not fit the model's context")
    if any(sign in text for sign in _NO_MEMORY):
        return AttemptFailed(Why.NO_MEMORY, "The model does not fit the memory that is free")
    if "parsing tool call" in text:
        return AttemptFailed(Why.MALFORMED, message[:300])
    if status in (401, 403):
        return AttemptFailed(Why.REFUSED, "The provider refused the API key")
    if status == 404:
        return AttemptFailed(Why.MISSING, "The provider does not have this model")
    if status == 429:
        return AttemptFailed(Why.RATE_LIMITED, "The provider asks to wait", retry_after=retry_after)
    if 400 <= status < 500:
        return AttemptFailed(Why.REJECTED, f"The provider rejected the request: {message[:200]}")
    return AttemptFailed(Why.FAILED, f"The provider failed: {message[:200]}")


_OVERFLOW = (
    "context_length_exceeded",
    "maximum context length",
    "exceeds the context",
    "exceed_context_size",
    "exceeds the available context",
    "prompt is too long",
    "input tokens exceed",
)
_NO_MEMORY = ("more system memory", "out of memory", "cudamalloc", "unable to allocate")
