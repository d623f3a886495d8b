"""How many effects one person may cause in a minute, so that a runaway loop stops.

Counted in this process, and across processes too where Redis is set. Redis is never the truth:
when it is away, each process counts for itself.
"""

import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from nebula.errors import RateLimited

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from nebula.settings import Settings

log = structlog.get_logger(__name__)

_MINUTE = 60
_PATIENCE_SECONDS = 0.5
_LEAVE_ALONE_SECONDS = 10.0
"""How long Redis is not asked again after it failed to answer."""


class Limits:
    """A sliding window per principal in this process, and a count per minute for all of them."""

    def __init__(self, per_minute: int, redis: "Redis | None" = None) -> None:
        """Take how many effects a principal may cause in a minute."""
        self._per_minute = per_minute
        self._taken: defaultdict[str, deque[float]] = defaultdict(deque)
        self._redis = redis
        self._away_until = 0.0

    async def take(self, principal_id: str) -> None:
        """Count one effect.

        Raises:
            RateLimited: when the minute is used up.
        """
        now = time.monotonic()
        taken = self._taken[principal_id]
        while taken and taken[0] < now - _MINUTE:
            taken.popleft()
        if len(taken) >= self._per_minute:
            raise self._refusal(_MINUTE - (now - taken[0]))
        if await self._taken_everywhere(principal_id, now) > self._per_minute:
            raise self._refusal(_MINUTE - time.time() % _MINUTE)
        taken.append(now)

    async def _taken_everywhere(self, principal_id: str, now: float) -> int:
        from redis.exceptions import RedisError

        if self._redis is None or now < self._away_until:
            return 0
        key = f"nebula:effects:{principal_id}:{int(time.time() // _MINUTE)}"
        try:
            count = await self._redis.incr(key)
            if count == 1:
                await self._redis.expire(key, 2 * _MINUTE)
        except (RedisError, OSError, TimeoutError) as error:
            self._away_until = now + _LEAVE_ALONE_SECONDS
            log.warning("redis_away", error=type(error).__name__)
            return 0
        return int(count)

    def _refusal(self, wait: float) -> RateLimited:
        return RateLimited(
            f"More than {self._per_minute} changes in a minute.",
            hint=f"Wait {wait:.0f} s, or raise JARVIS_MAX_EFFECTS_PER_MINUTE.",
        )


@asynccontextmanager
async def open_limits(settings: "Settings") -> AsyncIterator[Limits]:
    """Hand out the limits, counted in Redis too when its address is set."""
    per_minute = settings.max_effects_per_minute
    if not settings.redis_url:
        yield Limits(per_minute)
        return
    from redis.asyncio import Redis

    redis = Redis.from_url(
        settings.redis_url,
        socket_timeout=_PATIENCE_SECONDS,
        socket_connect_timeout=_PATIENCE_SECONDS,
    )
    try:
        yield Limits(per_minute, redis)
    finally:
        await redis.aclose()
