"""Tells a page at once what becomes of its person's workflows."""

from typing import Any

from nebula.errors import NotAuthenticated
from tools.workflows.telling import changes_of
from ui.chat import door


async def follow(page: Any) -> None:
    """Tell a page of every workflow and run of its person, until they are signed out.

    Of other people's workflows, which administrators see, it hears by looking every now and then.
    """
    try:
        me = await door.me()
    except NotAuthenticated:
        return
    if not me.can("workflows:read"):
        return
    events, stream = door.app().parts.events, changes_of(me.id)
    after = await events.last(stream)
    # The page may have missed something while it was away: it reads again.
    await page.emit("window_message", {"nebula": "workflows"})
    async for event in events.follow(stream, after):
        data = event.data
        said = {"id": data.get("id"), "run": data.get("run"), "state": data.get("state")}
        await page.emit("window_message", {"nebula": "workflows", **said})
