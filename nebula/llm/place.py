"""A provider as the router sees it: what it has, whether it works, what it answered last."""

import time
from collections.abc import Callable
from typing import Final

from nebula.llm.breaker import Breaker
from nebula.llm.failure import AttemptFailed, Why
from nebula.llm.provider import Model, Provider
from nebula.llm.settings import LlmSettings

_MODEL_PAUSE: Final = {Why.MISSING: 60.0, Why.NO_MEMORY: 30.0}
"""Seconds for which one model is left alone while the provider's others are used."""
_REFUSED_PAUSE: Final = 60.0


class Place:
    """One provider, its breaker, and its models."""

    def __init__(
        self,
        provider: Provider,
        limits: LlmSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start believing that the provider works."""
        self.provider = provider
        self.breaker = Breaker(
            threshold=limits.failures_to_open,
            pause=limits.probe_seconds,
            limit=limits.probe_limit_seconds,
            clock=clock,
        )
        self.models: list[Model] = []
        self.error = ""
        self.latency: float | None = None
        """Seconds that the last listing of models took."""
        self._clock = clock
        self._every = limits.inventory_seconds
        self._listed_at: float | None = None
        self._paused: dict[str, float] = {}

    @property
    def name(self) -> str:
        """Return the provider's name."""
        return self.provider.name

    @property
    def due(self) -> bool:
        """Say whether it is time to look: a probe, or a new list of models."""
        if not self.breaker.closed:
            return self.breaker.probe_due
        return self._listed_at is None or self._clock() - self._listed_at >= self._every

    def ready(self, model: str) -> bool:
        """Say whether a turn may ask this model now."""
        return self.breaker.closed and self._clock() >= self._paused.get(model, 0.0)

    async def look(self) -> None:
        """List the models, which closes the breaker; a failure opens it."""
        started = self._clock()
        try:
            models = await self.provider.models()
        except AttemptFailed as failure:
            self.error = str(failure)
            self.breaker.trip(_pause(failure))
            return
        self.models = models
        self.error = ""
        self._listed_at = self._clock()
        self.latency = self._listed_at - started
        if not self.breaker.closed:
            self.breaker.recover()

    def note(self, model: str, failure: AttemptFailed) -> None:
        """Remember a failure, so that the next turns go elsewhere."""
        if failure.why in _MODEL_PAUSE:
            self._paused[model] = self._clock() + _MODEL_PAUSE[failure.why]
        elif failure.why in (Why.DOWN, Why.REFUSED, Why.RATE_LIMITED):
            self.breaker.trip(_pause(failure))
        elif failure.why in (Why.FAILED, Why.STALLED):
            self.breaker.fail()
        else:
            return
        self.error = str(failure)

    def succeed(self) -> None:
        """Note an answer."""
        self.breaker.succeed()
        self.error = ""


def _pause(failure: AttemptFailed) -> float | None:
    """Return how long to leave the provider alone; None for the breaker's own pause."""
    return _REFUSED_PAUSE if failure.why is Why.REFUSED else failure.retry_after
