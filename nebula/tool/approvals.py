"""Approvals: a row per question, bound to the exact call, decided once, used once."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from pydantic import BaseModel
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.principal import Caller, Principal, Surface
from nebula.db.engine import Database
from nebula.errors import Conflict, InvalidInput, NotFound, PermissionDenied
from nebula.secrets.redact import hide
from nebula.settings import Settings
from nebula.tool.definition import AnyTool, Effect
from nebula.tool.envelope import envelope_sha256
from nebula.tool.models import ApprovalRow

if TYPE_CHECKING:
    from nebula.events.bus import Events

Answer = Literal["approve", "deny", "request_changes"]

STREAM = "approvals"
_STATES: dict[Answer, str] = {
    "approve": "approved",
    "deny": "denied",
    "request_changes": "changes_requested",
}
# Doors through which a person shows who they are; schedules, bots and MCP clients never decide.
_DECIDING = frozenset({Surface.CHAT, Surface.REST, Surface.TERMINAL, Surface.DISCORD})


class Approval(BaseModel):
    """A question to a person about one exact call."""

    id: str
    tool: str
    arguments: dict[str, Any]
    effect: str
    reason: str
    principal_name: str
    principal_id: str
    surface: str
    session_id: str | None
    call_id: str
    state: str
    created_at: datetime
    expires_at: datetime
    decided_by: str | None
    decided_where: str | None
    comment: str
    sha256: str


class Approvals:
    """Asks, answers and uses up approvals."""

    def __init__(self, db: Database, events: "Events", settings: Settings) -> None:
        """Take the database, where answers are announced, and the expiry per class."""
        self._db = db
        self._events = events
        self._settings = settings

    async def ask(
        self, tool: AnyTool, body: dict[str, Any], caller: Caller, call_id: str, reason: str
    ) -> Approval:
        """Open a question for a call, or return the one it already has."""
        minutes = (
            self._settings.approval_minutes_destructive
            if tool.effect is Effect.DESTRUCTIVE
            else self._settings.approval_minutes
        )
        async with self._db.session() as session:
            made = await session.execute(
                insert(ApprovalRow)
                .values(
                    id=f"apr_{uuid4().hex[:20]}",
                    principal_id=caller.principal.id,
                    principal_name=caller.principal.name,
                    call_id=call_id,
                    tool=tool.name,
                    permission=tool.permission,
                    effect=tool.effect.value,
                    envelope=body,
                    sha256=envelope_sha256(body),
                    reason=reason,
                    surface=caller.surface.value,
                    session_id=caller.session_id,
                    expires_at=func.clock_timestamp() + timedelta(minutes=minutes),
                )
                .on_conflict_do_nothing()
                .returning(ApprovalRow.id)
            )
            created = made.scalar_one_or_none()
            approval = await self._of_call(session, caller.principal.id, call_id)
            assert approval is not None
            if created:
                await self._announce("approval.requested", approval, session)
        return approval

    async def of_call(self, principal_id: str, call_id: str) -> Approval | None:
        """Return the question a call has, with expiry applied."""
        async with self._db.session() as session:
            return await self._of_call(session, principal_id, call_id)

    async def get(self, approval_id: str, principal: Principal) -> Approval:
        """Return an approval that the principal asked for or may decide."""
        async with self._db.session() as session:
            await self._expire(session)
            row = await session.get(ApprovalRow, approval_id)
            if row is None or not _may_see(row, principal):
                raise NotFound(f"There is no approval {approval_id!r}")
            return _shown(row)

    async def list(
        self,
        principal: Principal,
        state: str | None = "pending",
        session_id: str | None = None,
        limit: int = 50,
    ) -> list[Approval]:
        """List approvals the principal asked for or may decide, newest first."""
        query = select(ApprovalRow).order_by(ApprovalRow.created_at.desc()).limit(500)
        if state is not None:
            query = query.where(ApprovalRow.state == state)
        if session_id is not None:
            query = query.where(ApprovalRow.session_id == session_id)
        async with self._db.session() as session:
            await self._expire(session)
            rows = (await session.scalars(query)).all()
        return [_shown(row) for row in rows if _may_see(row, principal)][:limit]

    async def decide(
        self,
        approval_id: str,
        *,
        decision: Answer,
        by: Principal,
        surface: Surface,
        comment: str = "",
    ) -> Approval:
        """Answer a question; only a person who holds the tool's permission may.

        Raises:
            PermissionDenied: when the approver lacks the permission or the door cannot decide.
            Conflict: when it was already decided, used, or has expired.
        """
        if decision == "request_changes" and not comment.strip():
            raise InvalidInput("Say what should change.", hint="Add a comment.")
        async with self._db.session() as session:
            await self._expire(session)
            row = await session.get(ApprovalRow, approval_id, with_for_update=True)
            if row is None or not _may_see(row, by):
                raise NotFound(f"There is no approval {approval_id!r}")
            _check_approver(row, by, surface)
            if row.state != "pending":
                raise Conflict(f"This approval is already {row.state.replace('_', ' ')}.")
            row.state = _STATES[decision]
            row.decided_by, row.decided_where = by.name, surface.value
            row.comment = hide(comment.strip())[:2000]
            row.decided_at = func.clock_timestamp()
            await session.flush()
            await session.refresh(row)
            decided = _shown(row)
            await self._announce("approval.decided", decided, session)
        return decided

    async def use(self, session: AsyncSession, approval: Approval) -> None:
        """Use an approval up, in the transaction that records the call's start.

        Raises:
            Conflict: when it is no longer approved, has expired, or was used meanwhile.
        """
        used = await session.execute(
            update(ApprovalRow)
            .where(
                ApprovalRow.id == approval.id,
                ApprovalRow.state == "approved",
                ApprovalRow.sha256 == approval.sha256,
                ApprovalRow.expires_at > func.clock_timestamp(),
            )
            .values(state="used")
            .returning(ApprovalRow.id)
        )
        if used.scalar_one_or_none() is None:
            raise Conflict("This approval was used already, or has expired.", hint="Ask again.")

    async def _of_call(
        self, session: AsyncSession, principal_id: str, call_id: str
    ) -> Approval | None:
        await self._expire(session)
        row = await session.scalar(
            select(ApprovalRow).where(
                ApprovalRow.principal_id == principal_id, ApprovalRow.call_id == call_id
            )
        )
        return None if row is None else _shown(row)

    async def _expire(self, session: AsyncSession) -> None:
        expired = await session.scalars(
            update(ApprovalRow)
            .where(
                ApprovalRow.state.in_(["pending", "approved"]),
                ApprovalRow.expires_at <= func.clock_timestamp(),
            )
            .values(state="expired")
            .returning(ApprovalRow)
        )
        for row in expired.all():
            await self._announce("approval.decided", _shown(row), session)

    async def _announce(self, kind: str, approval: Approval, session: AsyncSession) -> None:
        data = approval.model_dump(
            mode="json", include={"id", "tool", "state", "session_id", "call_id", "principal_id"}
        )
        await self._events.publish(STREAM, kind, data, owner=approval.principal_id, session=session)


def _check_approver(row: ApprovalRow, by: Principal, surface: Surface) -> None:
    if surface not in _DECIDING:
        raise PermissionDenied("Approvals are decided by a person, in chat, terminal or REST.")
    if not by.can(row.permission):
        raise PermissionDenied(f"Deciding this needs the permission {row.permission}.")


def _may_see(row: ApprovalRow, principal: Principal) -> bool:
    return row.principal_id == principal.id or principal.can(row.permission)


def _shown(row: ApprovalRow) -> Approval:
    fields = {name: getattr(row, name) for name in Approval.model_fields if name != "arguments"}
    return Approval(arguments=row.envelope["arguments"], **fields)
