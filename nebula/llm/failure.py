"""Why a model gave no answer, in the words that routing needs.

Every provider translates its client's errors into these once; nobody else reads vendor errors.
"""

from enum import StrEnum

from nebula.errors import TooLarge, UpstreamRejected


class Why(StrEnum):
    """What went wrong; the router decides by it where to ask next."""

    DOWN = "down"
    """No connection: the provider is skipped until a probe succeeds."""
    FAILED = "failed"
    """An error of the server, a cut stream, or bytes that are not the protocol."""
    STALLED = "stalled"
    REFUSED = "refused"
    """The key is missing or wrong."""
    RATE_LIMITED = "rate_limited"
    MISSING = "missing"
    """The provider does not have this model."""
    NO_MEMORY = "no_memory"
    REJECTED = "rejected"
    """The request itself was not accepted, e.g. a model without tool support."""
    OVERFLOW = "overflow"
    MALFORMED = "malformed"
    EMPTY = "empty"


class AttemptFailed(UpstreamRejected):
    """One attempt at one model failed; the message is safe to show."""

    def __init__(self, why: Why, message: str, *, retry_after: float | None = None) -> None:
        """Also take how many seconds the provider asked to wait."""
        super().__init__(message)
        self.why = why
        self.retry_after = retry_after


class ContextOverflow(TooLarge):
    """The conversation does not fit any model's context: shorten it and ask again."""

    def __init__(self, message: str = "", *, limit: int | None = None) -> None:
        """Also take the largest context tried, in tokens, where known."""
        super().__init__(
            message or "The conversation is longer than the model can read",
            hint="Start a new session, or ask for a smaller part.",
        )
        self.limit = limit
