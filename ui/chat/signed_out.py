"""Notices that someone was signed out or disabled."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from nebula.errors import NotAuthenticated, UpstreamUnavailable

EVERY: Final = 0.4
"""Seconds between two looks; what a person may do is itself known for as long at most."""


async def signed_out(
    who: Callable[[], Awaitable[object]],
    there: Callable[[], bool],
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> bool:
    """Ask again and again who it is; say whether they were signed out, or just went away."""
    while there():
        try:
            await who()
        except NotAuthenticated:
            return True
        except UpstreamUnavailable:
            pass  # nobody can act while the database is away; the next round asks again
        await pause(EVERY)
    return False
