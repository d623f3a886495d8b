"""How often an address may try something, in this process; the oldest addresses are forgotten."""

import time
from collections import OrderedDict, deque

from nebula.errors import RateLimited

_MOST_ADDRESSES = 10_000


class Tries:
    """A sliding minute per address."""

    def __init__(self, per_minute: int) -> None:
        """Take how many tries a minute allows."""
        self._per_minute = per_minute
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()

    def take(self, address: str) -> None:
        """Count one try.

        Raises:
            RateLimited: when the minute is used up.
        """
        now = time.monotonic()
        tries = self._seen.setdefault(address, deque())
        self._seen.move_to_end(address)
        while tries and tries[0] < now - 60:
            tries.popleft()
        if len(tries) >= self._per_minute:
            raise RateLimited("Too many tries from this address", hint="Wait a minute.")
        tries.append(now)
        while len(self._seen) > _MOST_ADDRESSES:
            self._seen.popitem(last=False)
