"""Reads async iterators in tasks of their own, so that a reader may look away without harm."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Ended(Exception):
    """The sources are over; `error` is what the first of them failed with, if any did."""

    def __init__(self, error: BaseException | None) -> None:
        """Take the failure, if there was one."""
        super().__init__()
        self.error = error


class Feed(Generic[T]):
    """What one or more sources yield, in one queue.

    A source runs in one task from beginning to end: what it opens (time limits, task groups)
    may span its yields, which stepping it from several tasks would break.
    """

    def __init__(self, *sources: AsyncIterator[T], ahead: int = 100) -> None:
        """Begin reading; at most `ahead` items wait for a slow reader."""
        self._queue: asyncio.Queue[T | Ended] = asyncio.Queue(ahead)
        self._running = len(sources)
        self._held: T | Ended | None = None
        self._tasks = [asyncio.create_task(self._read(source)) for source in sources]

    async def next(self, seconds: float | None = None) -> T:
        """Return the next item.

        Raises:
            TimeoutError: when none comes within so many seconds.
            Ended: when a source failed, or all are over.
        """
        item, self._held = self._held, None
        if item is None:
            item = self._waiting() or await self._come(seconds)
        if isinstance(item, Ended):
            raise item
        return item

    def more(self) -> T | None:
        """Return the next item if it is here already."""
        if self._held is None:
            self._held = self._waiting()
        if self._held is None or isinstance(self._held, Ended):
            return None
        item, self._held = self._held, None
        return item

    async def ready(self) -> bool:
        """Wait for the first item and say whether there is one; raise what failed before it."""
        self._held = await self._queue.get()
        if not isinstance(self._held, Ended):
            return True
        if self._held.error is not None:
            raise self._held.error
        return False

    async def __aiter__(self) -> AsyncIterator[T]:
        """Yield items until the sources are over; raise what one failed with."""
        try:
            while True:
                yield await self.next()
        except Ended as end:
            if end.error is not None:
                raise end.error from None

    async def close(self) -> None:
        """Stop every source and wait until it has cleaned up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _waiting(self) -> T | Ended | None:
        return None if self._queue.empty() else self._queue.get_nowait()

    async def _come(self, seconds: float | None) -> T | Ended:
        async with asyncio.timeout(seconds):
            return await self._queue.get()

    async def _read(self, source: AsyncIterator[T]) -> None:
        error: BaseException | None = None
        try:
            async for item in source:
                await self._queue.put(item)
        except Exception as failure:  # noqa: BLE001 - handed to the reader, who raises it
            error = failure
        finally:
            if isinstance(source, AsyncGenerator):
                await source.aclose()
        self._running -= 1
        if error is not None or self._running == 0:
            await self._queue.put(Ended(error))
