"""Errors that the agent shows: a code, an HTTP status, a sentence and the next step."""

from typing import ClassVar


class AgentError(Exception):
    """Something went wrong on this machine."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str = "") -> None:
        """Take a sentence that is safe for anyone, and the next step."""
        super().__init__(message)
        self.hint = hint


class BadRequest(AgentError):
    """The request makes no sense."""

    code, status = "invalid_input", 422


class NotAllowed(AgentError):
    """This machine's owner does not allow that."""

    code, status = "not_allowed", 403


class Unknown(AgentError):
    """There is no such thing here."""

    code, status = "not_found", 404


class Refused(AgentError):
    """This collides with what is so now."""

    code, status = "conflict", 409


class OutOfTouch(AgentError):
    """The control plane does not answer, so that nothing may be started."""

    code, status = "out_of_touch", 503


class BadConfig(AgentError):
    """A file of this machine's owner holds a mistake."""

    code, status = "bad_config", 409
