"""The machine doors, open over a real database, with a key and a browser per role."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api.server import create_server
from nebula.app import App
from nebula.auth.cookies import COOKIE
from nebula.auth.principal import Role
from nebula.settings import Settings
from nebula.tool.registry import Registry
from tests.api import samples
from tests.fakes.serve import serve
from tests.fakes.wire import Wire

SITE = "http://jarvis.test"
Door = Callable[[Role], Awaitable[httpx.AsyncClient]]


@asynccontextmanager
async def opened(server: FastAPI) -> AsyncIterator[FastAPI]:
    """Run a server's lifespan in one task of its own, as uvicorn does."""
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def live() -> None:
        async with server.router.lifespan_context(server):
            ready.set_result(None)
            await done.wait()

    task = asyncio.create_task(live())
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    try:
        yield server
    finally:
        done.set()
        await task


@pytest.fixture
def registry() -> Registry:
    samples.DONE.clear()
    return Registry([*Registry.discover("tools", "graphs"), *samples.ALL])


@pytest.fixture
async def server(settings: Settings, wire: Wire, registry: Registry) -> AsyncIterator[FastAPI]:
    made = create_server(settings, http_transport=wire, registry=registry)
    async with opened(made) as running:
        yield running


@pytest.fixture
def app(server: FastAPI) -> App:
    opened_app = server.state.doors.app
    assert isinstance(opened_app, App)
    return opened_app


@pytest.fixture
async def nobody(server: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Ask without any credentials."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(server), base_url=SITE) as http:
        yield http


@pytest.fixture
async def key(app: App) -> Callable[[Role], Awaitable[str]]:
    async def make(role: Role) -> str:
        user = await app.parts.auth.people.create(f"{role}-program", role)
        return (await app.parts.auth.keys.create(user.id, "test", role=role)).key

    return make


@pytest.fixture
async def program(server: FastAPI, key: Callable[[Role], Awaitable[str]]) -> AsyncIterator[Door]:
    """Give a function that returns a client with an API key of a role."""
    clients: list[httpx.AsyncClient] = []

    async def make(role: Role) -> httpx.AsyncClient:
        http = httpx.AsyncClient(
            transport=httpx.ASGITransport(server),
            base_url=SITE,
            headers={"Authorization": f"Bearer {await key(role)}"},
        )
        clients.append(http)
        return http

    yield make
    for http in clients:
        await http.aclose()


@pytest.fixture
async def browser(server: FastAPI, app: App) -> AsyncIterator[Door]:
    """Give a function that returns a client signed in as a browser would be."""
    clients: list[httpx.AsyncClient] = []

    async def make(role: Role) -> httpx.AsyncClient:
        user = await app.parts.auth.people.create(f"{role}-person", role)
        signed_in = await app.parts.auth.logins.open(user.id)
        http = httpx.AsyncClient(
            transport=httpx.ASGITransport(server),
            base_url=SITE,
            headers={"Origin": SITE},
            cookies={COOKIE: signed_in.token},
        )
        clients.append(http)
        return http

    yield make
    for http in clients:
        await http.aclose()


@pytest.fixture
async def live(server: FastAPI) -> AsyncIterator[str]:
    """Serve the open doors on a loopback port, for what streams; lifespan is already running."""

    async def doors(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        await server(scope, receive, send)

    async with serve(doors) as address:
        yield address
