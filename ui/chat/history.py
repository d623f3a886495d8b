"""History for Chainlit, read from our own sessions: nothing is stored twice.

A Chainlit thread is one of our sessions, under the same id. Steps and elements that Chainlit
offers to store are already in the session's transcript, so those calls do nothing; a reopened
thread is drawn again from the transcript by the same code that drew it live.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from chainlit.context import context
from chainlit.data.base import BaseDataLayer
from chainlit.element import Element as ChainlitElement
from chainlit.element import ElementDict
from chainlit.step import StepDict
from chainlit.types import (
    Feedback,
    PageInfo,
    PaginatedResponse,
    Pagination,
    ThreadDict,
    ThreadFilter,
)
from chainlit.user import PersistedUser, User

from memory.sessions import Session
from nebula.errors import NotFound
from ui.chat import door, transcript
from ui.chat.session import session_of

_PAGE = 40


class History(BaseDataLayer):
    """Chainlit's store, over `memory.sessions`. Every read is limited to the person signed in."""

    async def get_user(self, identifier: str) -> PersistedUser | None:
        """Return the person signed in; the gate has already checked who that is."""
        principal = await door.me()
        if principal.id != identifier:
            return None
        return PersistedUser(
            identifier=principal.id, display_name=principal.name, id=principal.id, createdAt=""
        )

    async def create_user(self, user: User) -> PersistedUser | None:
        """Return the person; people are made elsewhere."""
        return await self.get_user(user.identifier)

    async def list_threads(
        self, pagination: Pagination, filters: ThreadFilter
    ) -> PaginatedResponse[ThreadDict]:
        """Return sessions, latest first."""
        principal = await door.me()
        before = datetime.fromisoformat(pagination.cursor) if pagination.cursor else None
        search = (filters.search or "").casefold()
        size = 500 if search else max(1, min(pagination.first, _PAGE))
        found = await door.jarvis().sessions.list(principal, limit=size + 1, before=before)
        page = [s for s in found[:size] if search in s.title.casefold()]
        cursor = found[size - 1].last_active_at.isoformat() if len(found) > size else None
        return PaginatedResponse(
            pageInfo=PageInfo(hasNextPage=cursor is not None, startCursor=None, endCursor=cursor),
            data=[_thread(session, principal.id) for session in page],
        )

    async def get_thread(self, thread_id: str) -> ThreadDict | None:
        """Return a session with everything in it, or None when it is not this person's."""
        principal = await door.me()
        try:
            session = await door.jarvis().sessions.get(thread_id, principal)
        except NotFound:
            return None
        steps, elements = await transcript.drawn(session.id, principal)
        thread = _thread(session, principal.id)
        thread["steps"], thread["elements"] = steps, elements  # type: ignore[typeddict-item]
        return thread

    async def get_thread_author(self, thread_id: str) -> str:
        """Return the owner's id when that is the person signed in, else nothing."""
        principal = await door.me()
        try:
            await door.jarvis().sessions.get(thread_id, principal)
        except NotFound:
            return ""
        return principal.id

    async def update_thread(
        self,
        thread_id: str,
        name: str | None = None,
        user_id: str | None = None,
        metadata: dict[str, Any] | None = None,  # noqa: ARG002 - Chainlit passes it by name
        tags: list[str] | None = None,  # noqa: ARG002
    ) -> None:
        """Rename a session, or begin the one that a first message needs."""
        if user_id is not None:  # Chainlit announces a thread: its first message was just sent
            await session_of(context.session, name or "")
        elif name is not None:
            await door.jarvis().sessions.rename(thread_id, await door.me(), name)

    async def delete_thread(self, thread_id: str) -> None:
        """Delete a session."""
        await door.jarvis().sessions.delete(thread_id, await door.me())

    async def get_element(self, thread_id: str, element_id: str) -> ElementDict | None:
        """Return one element of a session."""
        thread = await self.get_thread(thread_id)
        elements: Sequence[ElementDict] = (thread["elements"] if thread else None) or []
        return next((e for e in elements if e["id"] == element_id), None)

    async def create_element(self, element: ChainlitElement) -> None:
        """Do nothing: the transcript has it."""

    async def delete_element(self, element_id: str, thread_id: str | None = None) -> None:
        """Do nothing: the transcript decides what is shown."""

    async def create_step(self, step_dict: StepDict) -> None:
        """Do nothing: the transcript has it."""

    async def update_step(self, step_dict: StepDict) -> None:
        """Do nothing: the transcript has it."""

    async def delete_step(self, step_id: str) -> None:
        """Do nothing: the transcript decides what is shown."""

    async def upsert_feedback(self, feedback: Feedback) -> str:  # noqa: ARG002
        """Do nothing: there are no thumbs to press."""
        return ""

    async def delete_feedback(self, feedback_id: str) -> bool:  # noqa: ARG002
        """Do nothing: there are no thumbs to press."""
        return False

    async def get_favorite_steps(self, user_id: str) -> list[StepDict]:  # noqa: ARG002
        """Return nothing: favourites are off."""
        return []

    async def build_debug_url(self) -> str:
        """Return nothing: there is no debugging site."""
        return ""

    async def close(self) -> None:
        """Do nothing: the server owns the database."""


def _thread(session: Session, owner: str) -> ThreadDict:
    return ThreadDict(
        id=session.id,
        # The sidebar groups and sorts by this: what was used last is on top.
        createdAt=session.last_active_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        name=session.title or None,
        userId=owner,
        userIdentifier=owner,
        tags=[],
        metadata={"state": session.state},
        steps=[],
        elements=[],
    )
