"""Turns: one request each, in order within a session, whichever process serves it.

A turn is queued, then running; it ends answered, failed or cancelled, or pauses waiting for a
person. A process that runs turns says so every second; a turn whose process fell silent is lost,
and the next one goes on.
"""

import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal, get_args
from uuid import uuid4

from pydantic import BaseModel, TypeAdapter
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from memory.sessions import PlanLine, ToolCallRecord, short_title
from nebula.auth.grant import Grant
from nebula.auth.principal import Caller, Principal, Role, Surface
from nebula.db.bare import Bare, Statements
from nebula.db.engine import Database
from nebula.errors import NotFound
from nebula.policy.labels import Label
from nebula.tool.result import Block

Also = Callable[[Statements], Awaitable[None]]
Begun = Callable[[Statements, "Turn"], Awaitable[None]]
Ending = Literal["answered", "cancelled", "failed", "waiting"]

_BLOCKS: TypeAdapter[list[Block]] = TypeAdapter(list[Block])
_CALLS: TypeAdapter[list[ToolCallRecord]] = TypeAdapter(list[ToolCallRecord])
_STATUS = {
    "answered": "done",
    **{state: state for state in get_args(Ending) if state != "answered"},
}

_OPEN_SESSION = text(
    "WITH opened AS (INSERT INTO sessions (id, owner, title, surface)"
    "  VALUES (:session, :owner, :title, :surface) RETURNING title),"
    " turn AS (INSERT INTO session_turns (id, session_id, state, caller)"
    "  VALUES (:turn, :session, 'running', CAST(:caller AS jsonb))),"
    " said AS (INSERT INTO session_messages (id, session_id, turn_id, role, text, labels)"
    "  VALUES (:message, :session, :turn, 'user', :text, CAST(:labels AS jsonb)))"
    " SELECT title FROM opened"
)
# Locks the session's row: whoever begins or claims a turn waits here for the others.
_TOUCH_SESSION = text(
    "UPDATE sessions SET last_active_at = now(), state = 'open',"
    " summary = CASE WHEN state = 'closed' THEN '' ELSE summary END,"
    " title = CASE WHEN title = '' THEN :title ELSE title END"
    " WHERE id = :session AND owner = :owner RETURNING title"
)
_BEGIN = text(
    "WITH turn AS (INSERT INTO session_turns (id, session_id, state, caller)"
    "  SELECT :turn, :session, CASE WHEN EXISTS (SELECT 1 FROM session_turns o"
    "   WHERE o.session_id = :session AND o.state IN ('queued', 'running'))"
    "   THEN 'queued' ELSE 'running' END, CAST(:caller AS jsonb) RETURNING state),"
    " withdrawn AS (UPDATE session_turns SET state = 'withdrawn', ended_at = now()"
    "  WHERE session_id = :session AND state = 'waiting'),"
    " said AS (INSERT INTO session_messages (id, session_id, turn_id, role, text, labels)"
    "  VALUES (:message, :session, :turn, 'user', :text, CAST(:labels AS jsonb)))"
    " SELECT state FROM turn"
)
_LOCK_SESSION_OF = text(
    "SELECT s.id FROM sessions s JOIN session_turns t ON t.session_id = s.id"
    " WHERE t.id = :turn FOR UPDATE OF s"
)
_LOSE_SILENT = text(
    "UPDATE session_turns SET state = 'lost', ended_at = now() WHERE session_id = :session"
    " AND state IN ('queued', 'running') AND id <> :turn"
    " AND alive_at < now() - make_interval(secs => :stale)"
)
_CLAIM = text(
    "WITH claimed AS (UPDATE session_turns t SET state = 'running', alive_at = now()"
    "  WHERE t.id = :turn AND t.state = 'queued' AND NOT EXISTS (SELECT 1 FROM session_turns o"
    "   WHERE o.session_id = t.session_id AND o.position < t.position"
    "   AND o.state IN ('queued', 'running')) RETURNING t.id, t.session_id),"
    " withdrawn AS (UPDATE session_turns SET state = 'withdrawn', ended_at = now()"
    "  WHERE state = 'waiting' AND session_id IN (SELECT session_id FROM claimed))"
    " SELECT id FROM claimed"
)
_RESUME = text(
    "UPDATE session_turns t SET state = 'running', alive_at = now() FROM sessions s"
    " WHERE t.session_id = :session AND t.state = 'waiting' AND s.id = t.session_id"
    " AND NOT EXISTS (SELECT 1 FROM session_turns o WHERE o.session_id = t.session_id"
    "  AND o.state = 'running') RETURNING t.id, t.caller, s.title"
)
# What was said after the last answered turn and did not come to an answer.
_UNFINISHED = text(
    "SELECT coalesce(json_agg(row_to_json(u) ORDER BY u.position), '[]') FROM ("
    " SELECT t.id, t.state, t.position, coalesce((SELECT m.text FROM session_messages m"
    "  WHERE m.session_id = t.session_id AND m.turn_id = t.id AND m.role = 'user' LIMIT 1), '')"
    "  AS said FROM session_turns t WHERE t.session_id = :session AND t.id <> :turn"
    " AND t.state NOT IN ('answered', 'queued', 'running')"
    " AND t.position > coalesce((SELECT max(position) FROM session_turns"
    "  WHERE session_id = :session AND state = 'answered'), 0)) u"
)
_FINISH = text(
    "WITH turn AS (UPDATE session_turns SET state = :state, ended_at = now(), cancelled = false,"
    "   waits_for = CAST(:waits_for AS jsonb)"
    "  WHERE id = :turn AND state IN ('queued', 'running', 'lost') RETURNING session_id),"
    " touched AS (UPDATE sessions SET last_active_at = now()"
    "  WHERE id IN (SELECT session_id FROM turn)),"
    " said AS (INSERT INTO session_messages (id, session_id, turn_id, role, text, blocks,"
    "   tool_calls, plan, labels, status)"
    "  SELECT :message, session_id, :turn, 'assistant', :text, CAST(:blocks AS jsonb),"
    "   CAST(:calls AS jsonb), CAST(:plan AS jsonb), CAST(:labels AS jsonb), :status FROM turn"
    "  ON CONFLICT (id) DO UPDATE SET text = excluded.text, blocks = excluded.blocks,"
    "   tool_calls = excluded.tool_calls, labels = excluded.labels, status = excluded.status,"
    "   plan = CASE excluded.plan WHEN '[]' THEN session_messages.plan ELSE excluded.plan END)"
    " SELECT count(*) FROM turn"
)
_BEAT = text(
    "UPDATE session_turns SET alive_at = now() WHERE id = ANY(:turns)"
    " AND state IN ('queued', 'running') RETURNING id, cancelled"
)
# A turn waits no longer once one of its approvals was decided or has expired.
_DECIDED = text(
    "SELECT t.session_id FROM session_turns t WHERE t.state = 'waiting' AND EXISTS ("
    " SELECT 1 FROM approvals a WHERE t.waits_for ? a.id"
    "  AND (a.state <> 'pending' OR a.expires_at <= now()))"
    " AND (CAST(:session AS text) IS NULL OR t.session_id = :session) LIMIT 100"
)
_CANCEL = text(
    "UPDATE session_turns t SET cancelled = (t.state <> 'waiting'),"
    " state = CASE WHEN t.state = 'waiting' THEN 'cancelled' ELSE t.state END,"
    " ended_at = CASE WHEN t.state = 'waiting' THEN now() END"
    " FROM sessions s WHERE s.id = t.session_id AND s.id = :session AND s.owner = :owner"
    " AND t.state IN ('queued', 'running', 'waiting') RETURNING t.id, t.state"
)
_LOSE = text(
    "UPDATE session_turns SET state = 'lost', ended_at = now() WHERE id = ANY(:turns)"
    " AND state IN ('queued', 'running') AND alive_at < now() - make_interval(secs => :stale)"
)
_FATES = text("SELECT id, state FROM session_turns WHERE id = ANY(:turns)")
_ACTIVE = text(
    "SELECT t.id, t.state FROM session_turns t JOIN sessions s ON s.id = t.session_id"
    " WHERE s.id = :session AND s.owner = :owner AND (CAST(:turn AS text) IS NULL OR t.id = :turn)"
    " ORDER BY t.position DESC LIMIT 1"
)


class Unfinished(BaseModel):
    """An earlier request of the session that never got its answer."""

    id: str
    state: str
    said: str


_EARLIER: TypeAdapter[list[Unfinished]] = TypeAdapter(list[Unfinished])


class Turn(BaseModel):
    """A turn as the process that serves it knows it."""

    id: str
    session_id: str
    title: str = ""
    running: bool = False
    """False while it waits for an earlier one."""
    first: bool = False
    """Its session began with it, so there is nothing from before."""
    earlier: list[Unfinished] = []


class Answer(BaseModel):
    """What a turn leaves in the transcript."""

    text: str = ""
    blocks: list[Block] = []
    tool_calls: list[ToolCallRecord] = []
    plan: list[PlanLine] = []
    labels: list[Label] = []
    waits_for: list[str] = []
    """The approvals a waiting turn needs."""


class Turns:
    """The order of turns in every session."""

    def __init__(self, db: Database, *, stale_seconds: float = 8.0) -> None:
        """Take the database, and after how much silence a turn counts as lost."""
        self._db = db
        self._stale = stale_seconds

    async def begin(
        self,
        caller: Caller,
        said: str,
        session_id: str | None,
        *,
        title: str = "",
        also: Begun | None = None,
    ) -> Turn:
        """Note a message and begin its turn; a session is made when there is none yet.

        `also` is done in the same transaction; what it raises leaves nothing behind. A new
        session is called by its first words, or as `title` says.

        Raises:
            NotFound: when the session is not the caller's.
        """
        new = session_id is None
        turn = Turn(id=uuid4().hex, session_id=session_id or uuid4().hex, first=new)
        values = {
            "session": turn.session_id,
            "owner": caller.principal.id,
            "title": short_title(title or said),
            "surface": caller.surface.value,
            "turn": turn.id,
            "caller": json.dumps(_as_record(caller)),
            "message": uuid4().hex,
            "text": said,
            "labels": json.dumps(sorted(caller.labels)),
        }
        async with self._db.bare() as db:
            if session_id is None and also is None:
                await _open(db, turn, values)
                return turn
            async with db.transaction():
                await (_open if session_id is None else _begin)(db, turn, values)
                if also is not None:
                    await also(db, turn)
        return turn

    async def claim(self, turn: Turn) -> bool:
        """Try to run a queued turn: nothing before it may still be queued or running.

        Raises:
            NotFound: when the session was deleted meanwhile.
        """
        async with self._db.session() as db:
            if await db.scalar(_LOCK_SESSION_OF, {"turn": turn.id}) is None:
                raise NotFound("The conversation was deleted")
            silent = {"session": turn.session_id, "turn": turn.id, "stale": self._stale}
            await db.execute(_LOSE_SILENT, silent)
            turn.running = await db.scalar(_CLAIM, {"turn": turn.id}) is not None
            if turn.running:
                turn.earlier = await _unfinished(db, turn)
        return turn.running

    async def lose_silent(self, session_id: str) -> bool:
        """Note that turns whose process fell silent are lost; say whether there were any."""
        silent = {"session": session_id, "turn": "", "stale": self._stale}
        async with self._db.bare() as db:
            return (await db.execute(_LOSE_SILENT, silent)).rowcount > 0

    async def resume(self, session_id: str) -> tuple[Turn, Mapping[str, Any]] | None:
        """Take up the session's waiting turn; None when there is none, or another process has it."""
        async with self._db.session() as db:
            rows = (await db.execute(_RESUME, {"session": session_id})).mappings()
            row = rows.first()
        if row is None:
            return None
        turn = Turn(id=row["id"], session_id=session_id, title=row["title"], running=True)
        return turn, row["caller"]

    async def finish(
        self, turn: Turn, ending: Ending, answer: Answer, *, also: Also | None = None
    ) -> bool:
        """Write a turn's end and its answer; False when its session is gone.

        `also` is done in the same transaction.
        """
        values = {
            "turn": turn.id,
            "state": ending,
            "message": f"{turn.id}-answer",
            "text": answer.text,
            "waits_for": json.dumps(answer.waits_for),
            "blocks": _BLOCKS.dump_json(answer.blocks).decode(),
            "calls": _CALLS.dump_json(answer.tool_calls).decode(),
            "plan": json.dumps([line.model_dump() for line in answer.plan]),
            "labels": json.dumps(sorted(answer.labels)),
            "status": _STATUS[ending],
        }
        async with self._db.bare() as db, db.transaction():
            written = bool(await db.scalar(_FINISH, values))
            if also is not None:
                await also(db)
        return written

    async def beat(self, turns: Collection[str]) -> Sequence[str]:
        """Say that these turns are alive, and return those that someone wants cancelled."""
        async with self._db.bare() as db:
            rows = await db.execute(_BEAT, {"turns": list(turns)})
            return [turn async for turn, cancelled in rows if cancelled]

    async def cancel(self, session_id: str, principal: Principal) -> Sequence[str]:
        """Ask whatever goes on in the session to stop, and return the turns concerned."""
        async with self._db.session() as db:
            return await cancel_turns(db, session_id, principal.id)

    async def decided(self, session_id: str | None = None) -> Sequence[str]:
        """Return the sessions (or just this one) whose waiting turn can go on."""
        async with self._db.session() as db:
            return list(await db.scalars(_DECIDED, {"session": session_id}))

    async def fates(self, turns: Collection[str]) -> Mapping[str, str]:
        """Return the states of some turns; those whose process fell silent are lost."""
        values = {"turns": list(turns)}
        async with self._db.session() as db:
            await db.execute(_LOSE, {**values, "stale": self._stale})
            return {row[0]: row[1] for row in await db.execute(_FATES, values)}

    async def latest(
        self, session_id: str, principal: Principal, turn_id: str | None = None
    ) -> tuple[str, str] | None:
        """Return the id and state of the session's latest turn, or of the one that is named."""
        values = {"session": session_id, "owner": principal.id, "turn": turn_id}
        async with self._db.session() as db:
            row = (await db.execute(_ACTIVE, values)).mappings().first()
        return None if row is None else (row["id"], row["state"])


async def cancel_turns(db: AsyncSession, session_id: str, owner_id: str) -> Sequence[str]:
    """Ask whatever goes on in a session to stop, in the caller's transaction.

    What waits ends with it; of what works, its process hears.
    """
    values = {"session": session_id, "owner": owner_id}
    return list(await db.scalars(_CANCEL, values))


def together(parts: Sequence[Also]) -> Also:
    """Return what does several things in one transaction, in their order."""

    async def each(db: Statements) -> None:
        for part in parts:
            await part(db)

    return each


def caller_of(record: Mapping[str, Any], principal: Principal, session_id: str) -> Caller:
    """Return the caller of a stored turn, with the rights its rows grant now."""
    return Caller(
        principal=principal,
        surface=Surface(record["surface"]),
        session_id=session_id,
        agent=record.get("agent"),
        labels=frozenset(Label(label) for label in record["labels"]),
    )


def principal_of(record: Mapping[str, Any]) -> Principal:
    """Return who asked, without any right: those are read anew."""
    known = dict(record["principal"])
    if (frozen := known.get("frozen")) is not None:
        known["frozen"] = Grant(*map(frozenset, frozen))
    return Principal(**{**known, "role": Role(known["role"]), "permissions": frozenset()})


def _as_record(caller: Caller) -> dict[str, Any]:
    # Rights are read anew; signing out of a browser does not take back what was asked in it.
    rights = {"permissions", "denied", "login_id"}
    principal = {
        field.name: getattr(caller.principal, field.name)
        for field in fields(caller.principal)
        if field.name not in rights
    }
    if (frozen := caller.principal.frozen) is not None:
        principal["frozen"] = [sorted(frozen.allowed), sorted(frozen.denied)]
    return {
        "principal": principal,
        "surface": caller.surface,
        "agent": caller.agent,
        "labels": sorted(caller.labels),
    }


async def _open(db: Bare, turn: Turn, values: Mapping[str, Any]) -> None:
    turn.title = await db.scalar(_OPEN_SESSION, values)
    turn.running = True


async def _begin(db: Bare, turn: Turn, values: Mapping[str, Any]) -> None:
    title = await db.scalar(_TOUCH_SESSION, values)
    if title is None:
        raise NotFound("There is no such conversation", hint="Begin a new one.")
    turn.title = title
    turn.running = await db.scalar(_BEGIN, values) == "running"
    if turn.running:
        turn.earlier = await _unfinished(db, turn)


async def _unfinished(db: Statements, turn: Turn) -> list[Unfinished]:
    rows = await db.scalar(_UNFINISHED, {"session": turn.session_id, "turn": turn.id})
    return _EARLIER.validate_python(rows)
