"""Which leases hold here, by the control plane's last word; when its word is old, none does."""

from collections.abc import Iterable

from node.clock import now
from node.protocol import Renewal


class Leases:
    """The leases of this node's cards, each with the moment until which it holds.

    A moment is counted from when the heartbeat was *sent*: the control plane looked at its clock
    later than that, so that a lease ends here before it ends there.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self._until: dict[tuple[int, int], float] = {}
        self._highest: dict[int, int] = {}
        self.heard_at: float | None = None
        """When the last heartbeat was sent that was answered."""

    def renew(self, sent_at: float, renewals: Iterable[Renewal]) -> None:
        """Take the control plane's word: these hold, and no others."""
        if self.heard_at is not None and sent_at < self.heard_at:
            return
        self.heard_at = sent_at
        self._until = {(r.gpu, r.token): sent_at + r.seconds for r in renewals}
        for gpu, token in self._until:
            self.saw(gpu, token)

    def saw(self, gpu: int, token: int) -> None:
        """Remember that a card's tokens have come this far."""
        self._highest[gpu] = max(token, self._highest.get(gpu, token))

    def highest(self, gpu: int) -> int | None:
        """Return the highest token that was ever seen for a card."""
        return self._highest.get(gpu)

    def until(self, gpu: int, token: int) -> float | None:
        """Return until when a lease holds; None when it does not."""
        until = self._until.get((gpu, token))
        return until if until is not None and until > now() else None

    def stale(self, gpu: int, token: int) -> bool:
        """Say whether a token belongs to the past: lower than another, and not held any more."""
        return token < self._highest.get(gpu, token) and self.until(gpu, token) is None
