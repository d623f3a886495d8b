"""Tells a page at once what becomes of the agents its person sees."""

import asyncio
from typing import Any

from nebula.errors import NebulaError, NotAuthenticated
from tools.agents.service import Agents, changes_of
from ui.chat import door

MOST = 60
"""Agents that one page hears of at once; of more, it looks by itself every now and then."""


async def follow(page: Any) -> None:
    """Tell a page of every agent and run of its person, until they are signed out."""
    try:
        me = await door.me()
    except NotAuthenticated:
        return
    if not me.can("agents:read"):
        return
    hearing: dict[str, asyncio.Task[None]] = {}
    try:
        # The page may have missed something while it was away: it reads again.
        await _tell(page, {})
        events, stream = door.app().parts.events, changes_of(me.id)
        after = await events.last(stream)
        await _hear_all(page, hearing)
        async for event in events.follow(stream, after):
            await _tell(page, event.data)
            await _hear_all(page, hearing)
    finally:
        for task in hearing.values():
            task.cancel()
        await asyncio.gather(*hearing.values(), return_exceptions=True)


async def _hear_all(page: Any, hearing: dict[str, asyncio.Task[None]]) -> None:
    """Follow what is not followed yet, and no longer what is gone."""
    try:
        ids = set(await Agents(door.app().parts).ids(await door.me(), MOST))
    except NebulaError:
        return  # the database is away; the page looks by itself
    for gone in hearing.keys() - ids:
        hearing.pop(gone).cancel()
    for new in ids - hearing.keys():
        hearing[new] = asyncio.create_task(_hear(page, new), name=f"agent-{new}")


async def _hear(page: Any, agent_id: str) -> None:
    events, stream = door.app().parts.events, f"agent:{agent_id}"
    async for event in events.follow(stream, await events.last(stream)):
        await _tell(page, {**event.data, "id": agent_id})


async def _tell(page: Any, data: dict[str, Any]) -> None:
    said = {"id": data.get("id"), "run": data.get("run"), "state": data.get("state")}
    await page.emit("window_message", {"nebula": "agents", **said})
