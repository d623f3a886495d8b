"""Conversations as doors list, open and read them; only their owner sees them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import uuid4

from pydantic import BaseModel
from sqlalchemy import delete, func, literal, select, text, update

from memory.checkpoints import Checkpoints
from memory.models import ConversationRow, MessageRow
from nebula.auth.principal import Principal, Surface
from nebula.db.engine import Database
from nebula.errors import InvalidInput, NotFound
from nebula.policy.labels import Label
from nebula.tool.result import Block

_TITLE_LENGTH = 60


class Session(BaseModel):
    """A conversation."""

    id: str
    title: str
    state: Literal["open", "closed"]
    surface: Surface
    summary: str
    created_at: datetime
    last_active_at: datetime


class ToolCallRecord(BaseModel):
    """A tool call inside a message, as a reader sees it."""

    call_id: str
    name: str
    arguments: dict[str, Any] = {}
    status: Literal["running", "waiting", "done", "failed"] = "running"
    agent: str | None = None
    blocks: list[Block] = []
    error: dict[str, Any] | None = None


class PlanLine(BaseModel):
    """One step of the plan that an answer followed."""

    title: str
    status: Literal["pending", "running", "done", "failed", "waiting"]


class Message(BaseModel):
    """One entry of the transcript."""

    id: str
    turn_id: str
    position: int
    role: Literal["user", "assistant"]
    text: str
    blocks: list[Block] = []
    tool_calls: list[ToolCallRecord] = []
    plan: list[PlanLine] = []
    labels: list[Label] = []
    status: Literal["done", "waiting", "cancelled", "failed", "lost"]
    created_at: datetime


class Sessions:
    """The conversations of the system. Every method raises NotFound for what is not yours."""

    def __init__(self, db: Database, checkpoints: Checkpoints) -> None:
        """Take the database and the threads' store."""
        self._db = db
        self._checkpoints = checkpoints

    async def create(self, principal: Principal, surface: Surface, title: str = "") -> Session:
        """Begin an empty conversation."""
        async with self._db.session() as db:
            row = ConversationRow(
                id=uuid4().hex,
                owner=principal.id,
                surface=surface,
                title=short_title(title),
                state="open",
                summary="",
            )
            db.add(row)
            await db.flush()
            await db.refresh(row)
            return _session(row)

    async def list(
        self,
        principal: Principal,
        *,
        state: Literal["open", "closed"] | None = None,
        limit: int = 50,
        before: datetime | None = None,
    ) -> Sequence[Session]:
        """Return the latest conversations first; `before` continues a list."""
        query = select(ConversationRow).where(ConversationRow.owner == principal.id)
        if state is not None:
            query = query.where(ConversationRow.state == state)
        if before is not None:
            query = query.where(ConversationRow.last_active_at < before)
        query = query.order_by(ConversationRow.last_active_at.desc()).limit(limit)
        async with self._db.session() as db:
            return [_session(row) for row in await db.scalars(query)]

    async def get(self, session_id: str, principal: Principal) -> Session:
        """Return one conversation."""
        query = select(ConversationRow).where(*_mine(session_id, principal))
        async with self._db.session() as db:
            row = await db.scalar(query)
        if row is None:
            raise _missing()
        return _session(row)

    async def messages(
        self, session_id: str, principal: Principal, *, after: int = 0, limit: int = 500
    ) -> Sequence[Message]:
        """Return the transcript in order, at most the latest `limit` entries after a position."""
        query = (
            select(MessageRow)
            .where(MessageRow.session_id == session_id, MessageRow.position > after)
            .order_by(MessageRow.position.desc())
            .limit(limit)
        )
        async with self._db.session() as db:
            if not await db.scalar(
                select(literal(1)).where(
                    ConversationRow.id == session_id, *_mine(session_id, principal)
                )
            ):
                raise _missing()
            rows = list(await db.scalars(query))
        return [_message(row) for row in reversed(rows)]

    async def close(self, session_id: str, principal: Principal) -> Session:
        """Close a conversation; its summary is written soon after."""
        return await self._change(session_id, principal, state="closed")

    async def reopen(self, session_id: str, principal: Principal) -> Session:
        """Open a closed conversation again."""
        return await self._change(
            session_id, principal, state="open", summary="", last_active_at=func.now()
        )

    async def rename(self, session_id: str, principal: Principal, title: str) -> Session:
        """Give a conversation another title."""
        title = short_title(title)
        if not title:
            raise InvalidInput("A title needs at least one letter")
        return await self._change(session_id, principal, title=title)

    async def delete(self, session_id: str, principal: Principal) -> None:
        """Delete a conversation with everything in it."""
        query = (
            delete(ConversationRow)
            .where(*_mine(session_id, principal))
            .returning(ConversationRow.id)
        )
        async with self._db.session() as db:
            if await db.scalar(query) is None:
                raise _missing()
        await self._checkpoints.adelete_thread(session_id)

    async def _change(self, session_id: str, principal: Principal, **values: Any) -> Session:
        query = (
            update(ConversationRow)
            .where(*_mine(session_id, principal))
            .values(**values)
            .returning(ConversationRow)
        )
        async with self._db.session() as db:
            row = await db.scalar(query)
        if row is None:
            raise _missing()
        return _session(row)


class Housekeeping:
    """What the system does with conversations of everyone, without being asked."""

    def __init__(self, db: Database) -> None:
        """Take the database."""
        self._db = db

    async def close_idle(self, minutes: float) -> Sequence[str]:
        """Close what nobody has used for some minutes and return the ids; waiting turns end too.

        What runs by itself keeps waiting: nobody sat there to go away.
        """
        query = text(
            "WITH idle AS (UPDATE sessions s SET state = 'closed' WHERE state = 'open'"
            " AND last_active_at < now() - make_interval(secs => :seconds)"
            " AND NOT EXISTS (SELECT 1 FROM session_turns t WHERE t.session_id = s.id"
            "  AND (t.state IN ('queued', 'running')"
            "   OR (t.state = 'waiting' AND s.surface = 'schedule')))"
            " RETURNING id),"
            " ended AS (UPDATE session_turns SET state = 'withdrawn', ended_at = now()"
            "  WHERE state = 'waiting' AND session_id IN (SELECT id FROM idle))"
            " SELECT id FROM idle"
        )
        async with self._db.session() as db:
            return list(await db.scalars(query, {"seconds": minutes * 60}))

    async def unsummarised(self, limit: int = 20) -> Sequence[str]:
        """Return closed conversations that have something in them and no summary."""
        query = (
            select(ConversationRow.id)
            .where(
                ConversationRow.state == "closed",
                ConversationRow.summary == "",
                select(literal(1)).where(MessageRow.session_id == ConversationRow.id).exists(),
            )
            .limit(limit)
        )
        async with self._db.session() as db:
            return list(await db.scalars(query))

    async def transcript(self, session_id: str, limit: int = 200) -> list[Message]:
        """Return the latest entries of any conversation, in order."""
        query = (
            select(MessageRow)
            .where(MessageRow.session_id == session_id)
            .order_by(MessageRow.position.desc())
            .limit(limit)
        )
        async with self._db.session() as db:
            return [_message(row) for row in reversed(list(await db.scalars(query)))]

    async def summarise(self, session_id: str, summary: str) -> None:
        """Store a summary, unless the conversation was opened again meanwhile."""
        query = (
            update(ConversationRow)
            .where(ConversationRow.id == session_id, ConversationRow.state == "closed")
            .values(summary=summary)
        )
        async with self._db.session() as db:
            await db.execute(query)


def short_title(text: str) -> str:
    """Return the first words of a text, fit for a list."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(line) <= _TITLE_LENGTH:
        return line
    return line[:_TITLE_LENGTH].rsplit(" ", 1)[0] + "…"


def _mine(session_id: str, principal: Principal) -> tuple[Any, Any]:
    return ConversationRow.id == session_id, ConversationRow.owner == principal.id


def _missing() -> NotFound:
    return NotFound("There is no such conversation", hint="List your sessions to see their ids.")


def _session(row: ConversationRow) -> Session:
    return Session.model_validate(row, from_attributes=True)


def _message(row: MessageRow) -> Message:
    return Message.model_validate(row, from_attributes=True)
