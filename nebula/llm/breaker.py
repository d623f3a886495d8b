"""A circuit breaker: a provider that fails is left alone until a probe finds it well."""

import time
from collections.abc import Callable


class Breaker:
    """Closed while a provider works; open from its failure until a probe succeeds.

    Turns never try an open provider, so that one that is down costs a single connect time-out.
    Pauses between probes double from `pause` to `limit`, in seconds.
    """

    def __init__(
        self,
        *,
        threshold: int = 3,
        pause: float = 2.0,
        limit: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open after `threshold` failures in a row, or at once on `trip`."""
        self._threshold = threshold
        self._first_pause = pause
        self._limit = limit
        self._clock = clock
        self._failures = 0
        self._pause = pause
        self._probe_at: float | None = None

    @property
    def closed(self) -> bool:
        """Say whether the provider may be used."""
        return self._probe_at is None

    @property
    def probe_due(self) -> bool:
        """Say whether it is time to look at a provider that failed."""
        return self._probe_at is not None and self._clock() >= self._probe_at

    @property
    def probe_in(self) -> float | None:
        """Return the seconds until the next probe; None while closed."""
        if self._probe_at is None:
            return None
        return max(0.0, self._probe_at - self._clock())

    def succeed(self) -> None:
        """Note an answer."""
        self._failures = 0
        self._pause = self._first_pause
        self._probe_at = None

    def recover(self) -> None:
        """Note a probe that found the provider: one more failure opens it again."""
        self._failures = self._threshold - 1
        self._probe_at = None

    def fail(self) -> None:
        """Note an error of a provider that still answers."""
        self._failures += 1
        if self._failures >= self._threshold:
            self.trip()

    def trip(self, pause: float | None = None) -> None:
        """Open now, for `pause` seconds when the provider named a time."""
        if pause is None:
            pause, self._pause = self._pause, min(self._limit, self._pause * 2)
        self._probe_at = self._clock() + pause
