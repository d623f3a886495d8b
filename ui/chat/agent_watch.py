"""Tells a page at once what becomes of the agents its person sees."""

import asyncio
from contextlib import suppress
from typing import Any

from nebula.errors import NebulaError, NotAuthenticated
from tools.agents.ending import ALERTS
from tools.agents.service import Agents, changes_of
from ui.chat import door, inbox

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
        hearing["alerts"] = asyncio.create_task(_hear_alerts(page), name="agents-alerts")
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
    for gone in hearing.keys() - ids - {"alerts"}:
        hearing.pop(gone).cancel()
    for new in ids - hearing.keys():
        hearing[new] = asyncio.create_task(_hear(page, new), name=f"agent-{new}")


async def _hear(page: Any, agent_id: str) -> None:
    events, stream = door.app().parts.events, f"agent:{agent_id}"
    async for event in events.follow(stream, await events.last(stream)):
        await _tell(page, {**event.data, "id": agent_id})


async def _hear_alerts(page: Any) -> None:
    """Tell a page when something of its person was switched off."""
    events = door.app().parts.events
    async for event in events.follow(ALERTS, await events.last(ALERTS)):
        with suppress(NebulaError):  # the page looks by itself
            if event.owner == (await door.me()).id:
                await inbox.count(page)


async def _tell(page: Any, data: dict[str, Any]) -> None:
    said = {"id": data.get("id"), "run": data.get("run"), "state": data.get("state")}
    await page.emit("window_message", {"nebula": "agents", **said})
    if "run" not in data:  # one was made, changed or switched on again
        with suppress(NebulaError):
            await inbox.count(page)
