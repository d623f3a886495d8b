"""What a turn says while it runs: one numbered stream that every door renders its own way.

A turn begins with `session`, ends with `done`, and in between sends any number of the others.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, PrivateAttr

from nebula.tool.result import Block

if TYPE_CHECKING:
    from nebula.tool.approvals import Approval


class _Event(BaseModel):
    seq: int = 0
    """Counts from 1 within a turn."""
    _seen: Any = PrivateAttr(None)

    def seen_as(self, live: "_Event") -> Self:
        """Let whoever follows the turn now see `live` in its place; this is what is kept."""
        self._seen = live
        return self

    @property
    def seen(self) -> Any:
        """Return what whoever follows the turn now sees."""
        return self if self._seen is None else self._seen.model_copy(update={"seq": self.seq})


class SessionEvent(_Event):
    """Which session and turn this is, and who thinks in it."""

    type: Literal["session"] = "session"
    session_id: str
    turn_id: str
    title: str = ""
    model: str = ""


class PlanStep(BaseModel):
    """One line of the plan."""

    title: str
    status: Literal["pending", "running", "done", "failed", "waiting"] = "pending"


class PlanEvent(_Event):
    """The whole plan, sent again whenever it changes."""

    type: Literal["plan"] = "plan"
    steps: list[PlanStep]


class StepEvent(_Event):
    """A sub-agent or phase begins or ends."""

    type: Literal["step"] = "step"
    id: str
    name: str
    status: Literal["running", "done", "failed"]
    detail: str = ""


class TokenEvent(_Event):
    """A piece of the answer; `restart` drops what this message had streamed so far."""

    type: Literal["token"] = "token"
    message_id: str
    text: str
    restart: bool = False


class ToolEvent(_Event):
    """A tool call: running, then done, failed or waiting."""

    type: Literal["tool"] = "tool"
    call_id: str
    name: str
    agent: str | None = None
    """The sub-agent that made the call; None when Jarvis itself did."""
    status: Literal["running", "done", "failed", "waiting"]
    arguments: dict[str, Any] = Field(default_factory=dict)
    blocks: list[Block] = Field(default_factory=list)
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    progress: float | None = None
    message: str = ""


class ApprovalEvent(_Event):
    """The turn waits for a person; the card is drawn from the approval's row."""

    type: Literal["approval"] = "approval"
    approval_id: str
    tool: str
    arguments: dict[str, Any]
    effect: str
    reason: str
    expires_at: str

    @classmethod
    def of(cls, approval: "Approval") -> "ApprovalEvent":
        """Return what a door hears of an open question."""
        return cls(
            approval_id=approval.id,
            tool=approval.tool,
            arguments=approval.arguments,
            effect=approval.effect,
            reason=approval.reason,
            expires_at=approval.expires_at.isoformat(),
        )


class JobEvent(_Event):
    """A background job this turn started, or its progress."""

    type: Literal["job"] = "job"
    job_id: str
    tool: str
    state: str
    progress: float | None = None
    message: str = ""


class MessageEvent(_Event):
    """A finished message of the assistant; replaces what was streamed under its id.

    `blocks`, when there are any, say the same as `text` in a richer form: show one or the other.
    """

    type: Literal["message"] = "message"
    message_id: str
    text: str
    blocks: list[Block] = Field(default_factory=list)


class ErrorEvent(_Event):
    """The turn failed; `error` has the one error shape (code, detail, retryable, hint)."""

    type: Literal["error"] = "error"
    error: dict[str, Any]


class DoneEvent(_Event):
    """The turn is over: answered, waiting for an approval, cancelled or failed."""

    type: Literal["done"] = "done"
    outcome: Literal["answered", "waiting", "cancelled", "failed"]
    model_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


ChatEvent = Annotated[
    SessionEvent
    | PlanEvent
    | StepEvent
    | TokenEvent
    | ToolEvent
    | ApprovalEvent
    | JobEvent
    | MessageEvent
    | ErrorEvent
    | DoneEvent,
    Field(discriminator="type"),
]
