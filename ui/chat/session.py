"""Which of our sessions a chat page is in; a new page begins one with its first message."""

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

from nebula.auth.principal import Surface
from ui.chat import door

_locks: WeakKeyDictionary[Any, asyncio.Lock] = WeakKeyDictionary()
_begun: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


async def session_of(page: Any, said: str) -> str:
    """Return the id of the page's session, beginning one when the page has none yet.

    Chainlit invents a thread id when a page opens; ours takes its place at the first message.
    Two callers arrive at that moment (the message, and Chainlit announcing the thread), so
    the second waits for the first.
    """
    if page.thread_id_to_resume:
        return str(page.thread_id_to_resume)
    async with _locks.setdefault(page, asyncio.Lock()):
        if not _begun.get(page):
            principal = await door.me()
            session = await door.jarvis().sessions.create(principal, Surface.CHAT, said)
            page.thread_id = session.id
            _begun[page] = True
            # The page keeps it in its address, so that a reload comes back here.
            await page.emit("window_message", {"nebula": "session", "id": session.id})
    return str(page.thread_id)


def begun(page: Any) -> str | None:
    """Return the id of the page's session; None while it is empty."""
    if page.thread_id_to_resume:
        return str(page.thread_id_to_resume)
    return str(page.thread_id) if _begun.get(page) else None
