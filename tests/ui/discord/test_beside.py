"""The bot inside the server: it comes with the token and goes with the server."""

import asyncio

import pytest
import pytest_asyncio
from fastapi import FastAPI

from api.server import create_server
from tests.fakes.discord.server import TOKEN, fake_discord
from tools.discord.servers import Servers
from ui.server import open_discord

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def discord():
    async with fake_discord() as fake:
        yield fake


def _server(settings) -> FastAPI:
    server = create_server(settings)
    open_discord(server)
    return server


async def test_with_a_token_the_server_runs_the_bot(discord, settings, monkeypatch) -> None:
    monkeypatch.setenv("JARVIS_DISCORD_TOKEN", TOKEN)
    server = _server(settings)
    async with server.router.lifespan_context(server):
        await asyncio.wait_for(discord.gateway.connected.wait(), 10)
        assert server.state.doors is not None
    await discord.until(lambda: discord.gateway._socket is None)


async def test_a_refused_token_does_not_take_the_server_down(
    discord, settings, monkeypatch
) -> None:
    monkeypatch.setenv("JARVIS_DISCORD_TOKEN", "not.the.token")
    server = _server(settings)
    async with server.router.lifespan_context(server):
        servers = Servers(server.state.doors.app.parts.db)
        async with asyncio.timeout(10):
            while not (await servers.bot()).problem:
                await asyncio.sleep(0.02)
        assert "refuses the bot's token" in (await servers.bot()).problem
        assert server.state.doors is not None


async def test_without_a_token_nobody_asks_discord(discord, settings) -> None:
    server = _server(settings)
    async with server.router.lifespan_context(server):
        pass
    assert discord.requests == []
