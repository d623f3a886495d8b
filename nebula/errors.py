"""Errors a caller may see; anything else is a bug, and callers get only its reference.

Whatever an outside system said, no error holds a secret that this process knows.

NebulaError
├── InvalidInput 422        ├── Conflict 409          ├── UpstreamUnavailable 503
├── NotAuthenticated 401    ├── ApprovalRequired 202  ├── UpstreamRejected 502
├── PermissionDenied 403    ├── RateLimited 429       ├── TimedOut 504, Yielded 503
├── NotFound 404            ├── TooLarge 413          ├── OutcomeUnknown 502, Paused 503
├── SandboxUnavailable 503  ├── WaitsFor 202          │   └── NoModel 503
└── InternalError 500 (a bug, known to callers by its reference only)
"""

from collections.abc import Iterator
from typing import ClassVar, Self

WITHOUT_MODEL = (
    "Start Ollama or set a key (`check setup` says how), write what it shall do as one plain"
    " command, or make it a workflow, which needs no model."
)


class NebulaError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    outside: bool = False
    """Its message may quote another system: it informs whoever reads it, and never commands."""

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        """Take a message that is safe for anyone, and a hint that names the next step."""
        # Imported late: the terminal knows errors before it may load anything heavy.
        from nebula.secrets.redact import hide

        super().__init__(hide(message) or (type(self).__doc__ or "").strip())
        self.hint = hide(hint)

    def quoting(self) -> Self:
        """Return the error, marked as one that quotes another system."""
        self.outside = True
        return self

    def payload(self) -> dict[str, object]:
        """Return the one error shape that every door shows."""
        body: dict[str, object] = {
            "code": self.code,
            "detail": str(self),
            "retryable": self.retryable,
        }
        if self.hint:
            body["hint"] = self.hint
        return body


class InvalidInput(NebulaError):
    """The arguments do not fit the tool."""

    code, status = "invalid_input", 422

    def __init__(
        self, message: str = "", *, hint: str = "", fields: list[dict[str, str]] | None = None
    ) -> None:
        """Also take the fields at fault, each as {field, problem}."""
        from nebula.secrets.redact import LIVE

        super().__init__(message, hint=hint)
        self.fields = LIVE.value(fields or [])

    def payload(self) -> dict[str, object]:
        """Add the fields at fault to the error shape."""
        body = super().payload()
        if self.fields:
            body["fields"] = self.fields
        return body


class NotAuthenticated(NebulaError):
    """Sign in first."""

    code, status = "not_authenticated", 401


class PermissionDenied(NebulaError):
    """You may not do this."""

    code, status = "permission_denied", 403


class FreshSignInNeeded(NebulaError):
    """Show first that it is you: give your password again, or use a new sign-in link."""

    code, status = "fresh_sign_in_needed", 403


class NotFound(NebulaError):
    """There is no such thing."""

    code, status = "not_found", 404


class Conflict(NebulaError):
    """This collides with the present state."""

    code, status = "conflict", 409


class StillRunning(Conflict):
    """This call is already running."""


class TooLarge(NebulaError):
    """That is larger than allowed."""

    code, status = "too_large", 413


class RateLimited(NebulaError):
    """Too many requests; try again later."""

    code, status, retryable = "rate_limited", 429, True


class UpstreamUnavailable(NebulaError):
    """The other system does not answer."""

    code, status, retryable = "upstream_unavailable", 503, True
    outside = True


class NoModel(UpstreamUnavailable):
    """No language model answers."""

    code = "no_model"

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        """Say what can be done without one, unless there is more to say."""
        super().__init__(message, hint=hint or WITHOUT_MODEL)


class UpstreamRejected(NebulaError):
    """The other system refused."""

    code, status = "upstream_rejected", 502
    outside = True


class TimedOut(NebulaError):
    """It took too long."""

    code, status, retryable = "timed_out", 504, True


class SandboxUnavailable(NebulaError):
    """This machine lacks a layer of the sandbox, so nothing is run."""

    code, status = "sandbox_unavailable", 503


class OutcomeUnknown(NebulaError):
    """It may or may not have happened; look before trying again."""

    code, status = "outcome_unknown", 502


class ApprovalRequired(NebulaError):
    """A person must approve this first."""

    code, status = "approval_required", 202

    def __init__(self, approval_id: str, message: str = "") -> None:
        """Take the id of the waiting approval."""
        super().__init__(message)
        self.approval_id = approval_id

    def payload(self) -> dict[str, object]:
        """Add the approval's id to the error shape."""
        return {**super().payload(), "approval_id": self.approval_id}


class WaitsFor(NebulaError):
    """It goes on by itself when something else has ended."""

    code, status = "waiting", 202

    def __init__(self, what: str, message: str = "") -> None:
        """Take the id of what it waits for; whoever ends that lets the job go on."""
        super().__init__(message)
        self.what = what


class Paused(NebulaError):
    """Everything that changes something is paused."""

    code, status, retryable = "paused", 503, True


class Yielded(NebulaError):
    """It saved its work and gave the GPU back; it goes on when there is room again."""

    code, status, retryable = "yielded", 503, True


class InternalError(NebulaError):
    """Something broke on our side."""

    code, status = "internal_error", 500

    def __init__(self, reference: str) -> None:
        """Take the reference under which the log has the details."""
        super().__init__(
            f"Something broke on our side (reference {reference}).",
            hint="Look for the reference in the log, or report it.",
        )
        self.reference = reference


class StoredError(NebulaError):
    """A failure that is told again because the same call was made again."""

    outside = True

    def __init__(self, stored: dict[str, object]) -> None:
        """Take the error shape as it was recorded."""
        from nebula.secrets.redact import LIVE

        super().__init__(str(stored.get("detail", "")), hint=str(stored.get("hint", "")))
        self._stored = LIVE.value(stored)
        known = by_code(str(stored.get("code", "")))
        # The class decides these for every other error; here the record does.
        self.code, self.status = str(stored.get("code", "error")), known.status  # type: ignore[misc]
        self.retryable = False  # type: ignore[misc]

    def payload(self) -> dict[str, object]:
        """Return what was recorded."""
        return {**self._stored, "retryable": False}


def by_code(code: str) -> type[NebulaError]:
    """Return the error class that owns a code, or NebulaError itself."""
    return next((kind for kind in _kinds(NebulaError) if kind.code == code), NebulaError)


def _kinds(of: type[NebulaError]) -> Iterator[type[NebulaError]]:
    for kind in of.__subclasses__():
        yield kind
        yield from _kinds(kind)
