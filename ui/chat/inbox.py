"""Tells a page at once when a question it shows was answered elsewhere, and how much waits."""

from typing import Any

from api.notices import notices_of
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
    said = {"nebula": "approvals", "id": approval_id, "state": state}
    await page.emit("window_message", {**said, "waiting": await _waiting()})


async def count(page: Any) -> None:
    """Tell a page how much waits for its person: questions, and what of theirs stands still."""
    await page.emit("window_message", {"nebula": "waiting", "waiting": await _waiting()})


async def _waiting() -> int:
    parts, me = door.app().parts, await door.me()
    asked = await parts.approvals.list(me, limit=MOST)
    return len(asked) + len(await notices_of(parts.db, me))
