"""Closes the page of someone who was signed out or disabled, within a second or two."""

import asyncio
from typing import Any

from chainlit.context import context
from chainlit.session import WebsocketSession

from nebula.errors import NotAuthenticated, UpstreamUnavailable
from ui.chat import door

SIGNED_OUT = "nebula:signed-out"
_SECONDS = 1.0
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
    while WebsocketSession.get_by_id(page.id) is page:
        try:
            await door.me()
        except NotAuthenticated:
            await _close(page)
            return
        except UpstreamUnavailable:
            pass  # nobody can act while the database is away; the next round asks again
        await asyncio.sleep(_SECONDS)


async def _close(page: Any) -> None:
    from chainlit.server import sio

    await page.emit("window_message", SIGNED_OUT)
    await sio.disconnect(page.socket_id)
    await page.delete()
