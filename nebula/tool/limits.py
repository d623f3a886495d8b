"""How many effects one person may cause in a minute, so that a runaway loop stops."""

import time
from collections import defaultdict, deque

from nebula.errors import RateLimited


class Limits:
    """A sliding window per principal, in this process."""

    def __init__(self, per_minute: int) -> None:
        """Take how many effects a principal may cause in a minute."""
        self._per_minute = per_minute
        self._taken: defaultdict[str, deque[float]] = defaultdict(deque)

    def take(self, principal_id: str) -> None:
        """Count one effect.

        Raises:
            RateLimited: when the minute is used up.
        """
        now = time.monotonic()
        taken = self._taken[principal_id]
        while taken and taken[0] < now - 60:
            taken.popleft()
        if len(taken) >= self._per_minute:
            wait = 60 - (now - taken[0])
            raise RateLimited(
                f"More than {self._per_minute} changes in a minute.",
                hint=f"Wait {wait:.0f} s, or raise JARVIS_MAX_EFFECTS_PER_MINUTE.",
            )
        taken.append(now)
