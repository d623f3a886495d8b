"""Watches over an open page: it hears of answers, and is closed when its person is signed out."""

import asyncio
from typing import Any

from chainlit.context import context
from chainlit.session import WebsocketSession

from ui.chat import agent_watch, door, inbox, workflow_watch
from ui.chat.signed_out import signed_out

SIGNED_OUT = "nebula:signed-out"
_watched: dict[str, asyncio.Task[None]] = {}


def start() -> None:
    """Watch over the page in context for as long as Chainlit keeps it."""
    page = context.session
    assert isinstance(page, WebsocketSession)
    if page.id not in _watched:
        task = asyncio.create_task(_watch(page))
        _watched[page.id] = task
        task.add_done_callback(lambda _: _watched.pop(page.id, None))


async def _watch(page: WebsocketSession) -> None:
    hearing = [
        asyncio.create_task(inbox.follow(page), name=f"inbox-{page.id}"),
        asyncio.create_task(agent_watch.follow(page), name=f"agents-{page.id}"),
        asyncio.create_task(workflow_watch.follow(page), name=f"workflows-{page.id}"),
    ]
    try:
        gone = await signed_out(door.me, lambda: WebsocketSession.get_by_id(page.id) is page)
    finally:
        for task in hearing:
            task.cancel()
        await asyncio.gather(*hearing, return_exceptions=True)
    if gone:
        await _close(page)


async def _close(page: Any) -> None:
    from chainlit.server import sio

    await page.emit("window_message", SIGNED_OUT)
    await sio.disconnect(page.socket_id)
    await page.delete()
