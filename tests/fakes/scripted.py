"""What a fake chat model does: a script of replies, or a policy that looks at the request.

    with Script(call("gpu_status", {}), say("The GPU is idle.")) as script:
        async with serve(FakeOllama(script)) as url: ...

A script fails the test when a model is asked more often than scripted, or less.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Self


class Fault(StrEnum):
    """How a reply goes wrong, on the wire of whichever server speaks it."""

    STATUS = "status"
    STALL = "stall"
    DROP = "drop"
    GARBAGE = "garbage"
    IN_STREAM = "in_stream"
    OVERFLOW = "overflow"
    OUT_OF_MEMORY = "out_of_memory"


@dataclass(frozen=True)
class ToolUse:
    """A tool the model wants called; arguments as a mapping, or raw text when malformed."""

    name: str
    arguments: Mapping[str, Any] | str

    @property
    def raw(self) -> str:
        if isinstance(self.arguments, str):
            return self.arguments
        return json.dumps(self.arguments)


@dataclass(frozen=True)
class Reply:
    """One answer of a model: text in pieces, tool uses, then perhaps a fault."""

    pieces: tuple[str, ...] = ()
    calls: tuple[ToolUse, ...] = ()
    fault: Fault | None = None
    status: int = 500
    message: str = "something broke"
    retry_after: str | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@dataclass(frozen=True)
class ModelRequest:
    """What a fake was asked, the same for every protocol; `body` is the request as sent."""

    path: str
    model: str
    messages: list[dict[str, Any]]
    tools: list[str]
    body: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def last(self) -> dict[str, Any]:
        return self.messages[-1] if self.messages else {}

    @property
    def characters(self) -> int:
        """Count the prompt, tool schemas included, as a stand-in for tokens times four."""
        return len(json.dumps(self.messages)) + len(json.dumps(self.body.get("tools", [])))


Policy = Callable[[ModelRequest], Reply]


def say(text: str) -> Reply:
    """Answer with text, streamed word by word."""
    words = text.split(" ")
    return Reply(pieces=(*(f"{w} " for w in words[:-1]), words[-1]))


def call(name: str, arguments: Mapping[str, Any] | str) -> Reply:
    """Call one tool; pass text as arguments to send them malformed."""
    return Reply(calls=(ToolUse(name, arguments),))


def calls(*uses: tuple[str, Mapping[str, Any]]) -> Reply:
    """Call several tools at once."""
    return Reply(calls=tuple(ToolUse(name, arguments) for name, arguments in uses))


def empty() -> Reply:
    """Answer with nothing at all."""
    return Reply()


def fail(status: int, message: str = "something broke", *, retry_after: str | None = None) -> Reply:
    """Answer with an HTTP error in the server's own shape."""
    return Reply(fault=Fault.STATUS, status=status, message=message, retry_after=retry_after)


def overflow() -> Reply:
    """Refuse because the prompt does not fit the context."""
    return Reply(fault=Fault.OVERFLOW)


def out_of_memory() -> Reply:
    """Refuse because the model does not fit the GPU."""
    return Reply(fault=Fault.OUT_OF_MEMORY)


def stall(after: str = "") -> Reply:
    """Stream `after`, then say nothing more until the client goes away."""
    return Reply(pieces=say(after).pieces if after else (), fault=Fault.STALL)


def drop(after: str = "") -> Reply:
    """Stream `after`, then cut the connection."""
    return Reply(pieces=say(after).pieces if after else (), fault=Fault.DROP)


def garbage(after: str = "") -> Reply:
    """Stream `after`, then bytes that are not the protocol."""
    return Reply(pieces=say(after).pieces if after else (), fault=Fault.GARBAGE)


def error_in_stream(message: str, after: str = "") -> Reply:
    """Stream `after` under status 200, then an error object."""
    pieces = say(after).pieces if after else ()
    return Reply(pieces=pieces, fault=Fault.IN_STREAM, message=message)


class Script:
    """Replies in order; any other number of requests fails the test."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.requests: list[ModelRequest] = []
        self.unexpected: list[ModelRequest] = []

    def __call__(self, request: ModelRequest) -> Reply:
        self.requests.append(request)
        turn = len(self.requests)
        if turn > len(self.replies):
            self.unexpected.append(request)
            return fail(500, f"the script has no reply number {turn}")
        return self.replies[turn - 1]

    def check(self) -> None:
        """Fail when a request came unexpectedly or a reply was left over."""
        assert not self.unexpected, f"unexpected: {[r.last for r in self.unexpected]}"
        left = len(self.replies) - len(self.requests)
        assert left == 0, f"{left} of {len(self.replies)} replies were never asked for"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.check()


def echo(request: ModelRequest) -> Reply:
    """Policy: repeat what the person (or the tool) said last."""
    return say(f"You said: {request.last.get('content', '')}")


def obliging(request: ModelRequest) -> Reply:
    """Policy: call the first tool offered, without arguments, then report its result."""
    if request.last.get("role") == "tool":
        return say(f"Done: {str(request.last.get('content', ''))[:200]}")
    if request.tools:
        return call(request.tools[0], {})
    return say("Hello, how can I help?")
