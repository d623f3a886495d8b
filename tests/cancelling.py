"""Cancel something at every moment it has: after each turn of the event loop, until it is done."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable


async def cancelled_after_each_step(start: Callable[[], Awaitable[None]]) -> AsyncIterator[int]:
    """Start it again and again, cancel it a step later each time, and yield after each."""
    steps, done = 0, False
    while not done:
        task = asyncio.ensure_future(start())
        for _ in range(steps):
            await asyncio.sleep(0)
        done = task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        yield steps
        steps += 1
    assert steps > 3, "it never waited for anything"
