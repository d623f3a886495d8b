"""Tells a page at once when a question it shows was answered elsewhere, and how many wait."""

from typing import Any

from nebula.errors import NebulaError, NotAuthenticated
from nebula.tool.approval import STREAM, concerns
from ui.chat import door

MOST = 99
"""More than this many that wait are one number."""


async def follow(page: Any) -> None:
    """Tell a page of every question its person may see, until they are signed out."""
    parts = door.app().parts
    after = await parts.events.last(STREAM)
    await _tell(page, None, "")
    async for event in parts.events.follow(STREAM, after):
        try:
            if concerns(event, await door.me()):
                await _tell(page, str(event.data["id"]), str(event.data["state"]))
        except NotAuthenticated:
            return
        except NebulaError:
            continue  # the database is away; the page looks by itself every now and then


async def _tell(page: Any, approval_id: str | None, state: str) -> None:
    waiting = await door.app().parts.approvals.list(await door.me(), limit=MOST)
    said = {"nebula": "approvals", "id": approval_id, "state": state, "waiting": len(waiting)}
    await page.emit("window_message", said)
