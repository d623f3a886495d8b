"""A task may be cancelled at any moment; its connection must serve the next request."""

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from nebula.http_client import HttpClient
from tests.cancelling import cancelled_after_each_step
from tests.fakes.serve import serve

Ask = Callable[[HttpClient], Awaitable[None]]
ONE = httpx.Limits(max_connections=1)
FRESH = httpx.Limits(max_connections=1, max_keepalive_connections=0)


async def _words(request: Request) -> StreamingResponse:
    async def words() -> AsyncIterator[bytes]:
        for word in (b"one ", b"two ", b"three"):
            yield word

    return StreamingResponse(words())


WORDS = Starlette(routes=[Route("/", _words)])


@asynccontextmanager
async def asking(limits: httpx.Limits) -> AsyncIterator[HttpClient]:
    async with (
        serve(WORDS) as url,
        HttpClient(base_url=url, limits=limits, trust_env=False) as http,
    ):
        yield http


async def whole(http: HttpClient) -> None:
    assert (await http.get("/")).text == "one two three"


async def streamed(http: HttpClient) -> None:
    async with http.stream("GET", "/") as response:
        assert b"".join([piece async for piece in response.aiter_bytes()]) == b"one two three"


async def left_early(http: HttpClient) -> None:
    async with http.stream("GET", "/"):
        pass


@pytest.mark.parametrize("limits", [ONE, FRESH], ids=["kept", "fresh"])
@pytest.mark.parametrize("ask", [whole, streamed, left_early])
async def test_a_request_cancelled_at_any_step_leaves_the_only_connection_free(
    ask: Ask, limits: httpx.Limits
) -> None:
    async with asking(limits) as http:
        async for _ in cancelled_after_each_step(lambda: ask(http)):
            async with asyncio.timeout(10):
                await whole(http)


async def test_a_request_cancelled_while_it_closes_lost_connections_leaves_none_open() -> None:
    async with serve(WORDS) as there, HttpClient(trust_env=False) as http:
        for steps in range(20):
            async with serve(WORDS) as gone:
                await asyncio.gather(*[http.get(gone) for _ in range(5)])
            task = asyncio.create_task(http.get(there))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        gc.collect()
    assert [str(warning.message) for warning in seen] == []


async def test_a_request_that_waits_for_a_connection_can_be_cancelled() -> None:
    async with asking(ONE) as http:
        async with http.stream("GET", "/"):
            waiting = asyncio.create_task(whole(http))
            for _ in range(30):
                await asyncio.sleep(0)
            assert not waiting.done()
            waiting.cancel()
            async with asyncio.timeout(10):
                with pytest.raises(asyncio.CancelledError):
                    await waiting
        await whole(http)


async def test_errors_arrive_as_httpx_raises_them() -> None:
    async with HttpClient(trust_env=False) as http:
        with pytest.raises(httpx.UnsupportedProtocol):
            await http.get("gopher://127.0.0.1/")
