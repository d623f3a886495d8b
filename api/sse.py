"""Server-sent events: numbered frames, a heartbeat, and an end when the reader's rights end."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.feed import Ended, Feed
from api.metrics import EVENTS, STREAMS
from api.problems import crash
from nebula.errors import NebulaError

T = TypeVar("T")

HEARTBEAT = 15.0
RECHECK = 0.4
"""How often, in seconds, an open stream asks whether its reader may still read."""

_FULL = 256 * 1024
_END_OF_FRAME = b"\n\n"

Guard = Callable[[], Awaitable[object]]


def frame(event: str, data: str | bytes, *, number: str = "") -> bytes:
    """Return one event in the wire format; `data` is JSON and so has no raw line breaks."""
    text = data.decode() if isinstance(data, bytes) else data
    head = f"id: {number}\n" if number else ""
    return f"{head}event: {event}\ndata: {text}\n\n".encode()


def error_frame(error: NebulaError) -> bytes:
    """Return an error as an event, in the one error shape."""
    return frame("error", json.dumps({"type": "error", "error": error.payload()}))


class EventStream(StreamingResponse, Generic[T]):
    """Sends what a feed holds, until it ends, its reader goes, or `guard` raises.

    What is there together is written together: under load a write carries many events.
    """

    def __init__(
        self,
        name: str,
        feed: Feed[T],
        encode: Callable[[T], bytes | None],
        guard: Guard,
        *,
        last: Callable[[T], bool] = lambda _: False,
    ) -> None:
        """Take how to write an item as frames (None leaves it out), and which item ends it."""
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(self._frames(), media_type="text/event-stream", headers=headers)
        self._name, self._feed, self._encode, self._guard = name, feed, encode, guard
        self._last = last
        self._over = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response; the feed is closed also when the reader was gone before it began."""
        STREAMS.labels(self._name).inc()
        try:
            await super().__call__(scope, receive, send)
        finally:
            STREAMS.labels(self._name).dec()
            await self._feed.close()

    async def _frames(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._guarded():
                yield chunk
        except NebulaError as error:
            yield error_frame(error)
        except Exception as error:  # noqa: BLE001 - the response has begun: its last handler
            yield error_frame(crash(error, stream=self._name))

    async def _guarded(self) -> AsyncIterator[bytes]:
        checked = sent = time.monotonic()
        while True:
            chunk = await self._next()
            now = time.monotonic()
            if now - checked >= RECHECK:
                await self._guard()
                checked = now
            if chunk is None:
                return
            if chunk:
                sent = now
                EVENTS.labels(self._name).inc(chunk.count(_END_OF_FRAME))
                yield chunk
                if self._over:
                    return
            elif now - sent >= HEARTBEAT:
                sent = now
                yield b": still here\n\n"

    async def _next(self) -> bytes | None:
        """Return the next frames, nothing when it is quiet, None at the end."""
        try:
            return self._written(await self._feed.next(RECHECK))
        except TimeoutError:
            return b""
        except Ended as end:
            if end.error is not None:
                raise end.error from None
            return None

    def _written(self, item: T | None) -> bytes:
        """Encode an item and those that wait behind it, up to a fair amount."""
        chunks: list[bytes] = []
        size = 0
        while item is not None:
            if chunk := self._encode(item):
                chunks.append(chunk)
                size += len(chunk)
            self._over = self._last(item)
            item = None if self._over or size >= _FULL else self._feed.more()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)
