"""An HTTP client that loses no connection, whenever a task that uses it is cancelled.

httpx's pool is guarded against anyio's cancellation only. `Task.cancel` and `asyncio.timeout` can
come between taking a connection and noting that it is free again: the pool then holds it for
good and stands still after a hundred, or leaves its socket open. So a request runs in a task of
its own, and the cancellation of whoever waits for it reaches httpx as one of anyio's.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import anyio
import httpx


class HttpClient(httpx.AsyncClient):
    """httpx.AsyncClient, safe to cancel at any moment."""

    async def send(
        self, request: httpx.Request, *, stream: bool = False, **options: Any
    ) -> httpx.Response:
        """Send a request; with `stream`, closing the answer is safe as well."""
        sending = _Sending(super().send(request, stream=stream, **options))
        response = await sending.response()
        if stream:
            assert isinstance(response.stream, httpx.AsyncByteStream)
            response.stream = _Body(response.stream)
        return response


class _Sending:
    """A request on its way, in a task of its own."""

    def __init__(self, sending: Coroutine[Any, Any, httpx.Response]) -> None:
        self._sending = sending
        self._scope = anyio.CancelScope()
        self._task = asyncio.create_task(self._send())

    async def response(self) -> httpx.Response:
        """Wait for the answer."""
        try:
            response = await asyncio.shield(self._task)
        except asyncio.CancelledError:
            await _finished(self._take_back())
            raise
        assert response is not None, "only its own reader takes a request back"
        return response

    async def _send(self) -> httpx.Response | None:
        with self._scope:
            return await self._sending
        return None

    async def _take_back(self) -> None:
        # A turn of the loop after it began, so no longer between reserving and connecting.
        self._scope.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled() and self._task.exception() is None:
            response = self._task.result()
            if response is not None:
                await response.aclose()


class _Body(httpx.AsyncByteStream):
    """An answer's body that is closed as a whole or not at all."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)

    async def aclose(self) -> None:
        """Give the connection back."""
        await _finished(self._stream.aclose())


async def _finished(closing: Coroutine[Any, Any, None]) -> None:
    """Run something short to its end, even when whoever waits for it is cancelled."""
    task = asyncio.create_task(closing)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
