"""Approvals: one row per question to a person, bound to one exact call, used at most once.

A model never decides: what it says on resume is not looked at, only the row is.
"""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.principal import Caller, Principal, Surface
from nebula.db.engine import Database
from nebula.errors import Conflict, InvalidInput, NebulaError, NotAuthenticated, NotFound
from nebula.policy.answering import Answerer, Bar, FourEyes, bar, needs_second
from nebula.policy.ask import Decision, Level
from nebula.secrets.redact import hide
from nebula.settings import Settings
from nebula.tool.approval import STREAM, Approval, announce, shown
from nebula.tool.barred import barred
from nebula.tool.definition import AnyTool
from nebula.tool.envelope import envelope_sha256
from nebula.tool.evidence import Evidence
from nebula.tool.grants import Grants
from nebula.tool.models import ApprovalRow
from nebula.tool.withdrawing import WITHDRAWN, of_session, withdraw

if TYPE_CHECKING:
    from nebula.auth.service import Auth
    from nebula.events.bus import Events

__all__ = ["STREAM", "Answer", "Approval", "Approvals"]

Answer = Literal["approve", "deny", "request_changes"]

_STATES: dict[Answer, str] = {
    "approve": "approved",
    "deny": "denied",
    "request_changes": "changes_requested",
}
_LOOK_SECONDS = 30.0


class Approvals:
    """Asks, answers and uses up approvals."""

    def __init__(self, db: Database, events: "Events", settings: Settings, auth: "Auth") -> None:
        """Take the database, where answers are announced, the expiry per class, and the people."""
        self._db = db
        self._events = events
        self._auth = auth
        self._grants = Grants(db, events)
        self._minutes = {
            Level.NORMAL: settings.approval_minutes,
            Level.DESTRUCTIVE: settings.approval_minutes_destructive,
            Level.CRITICAL: settings.approval_minutes_critical,
        }
        self._unattended = settings.approval_minutes_unattended
        self._fresh = timedelta(minutes=settings.fresh_minutes)

    async def ask(
        self,
        tool: AnyTool,
        body: dict[str, Any],
        caller: Caller,
        call_id: str,
        *,
        decision: Decision,
        evidence: Evidence,
        four_eyes: FourEyes,
    ) -> Approval:
        """Open a question for a call, or return the one it already has."""
        lasts = timedelta(minutes=self._lasts(decision.level, caller.surface))
        values = {
            "id": f"apr_{uuid4().hex[:20]}",
            "principal_id": caller.principal.id,
            "principal_name": caller.principal.name,
            "call_id": call_id,
            "tool": tool.name,
            "permission": tool.permission,
            "effect": tool.effect.value,
            "envelope": body,
            "sha256": envelope_sha256(body),
            "level": decision.level.value,
            "rule": decision.rule,
            "reason": decision.reason,
            "evidence": evidence.model_dump(mode="json"),
            "four_eyes": four_eyes.value,
            "surface": caller.surface.value,
            "session_id": caller.session_id,
            "expires_at": func.clock_timestamp() + lasts,
        }
        added = insert(ApprovalRow).values(values).on_conflict_do_nothing()
        async with self._db.session() as session:
            made = await session.execute(added.returning(ApprovalRow.id))
            created = made.scalar_one_or_none()
            approval = await self._of_call(session, caller.principal.id, call_id)
            assert approval is not None
            if created:
                await announce(self._events, "approval.requested", approval, session)
        return approval

    def _lasts(self, level: Level, surface: Surface) -> float:
        """Return for how many minutes a question stands: longer where nobody sits before it."""
        minutes = self._minutes[level]
        if surface is Surface.SCHEDULE and level is not Level.CRITICAL:
            return max(minutes, self._unattended)
        return minutes

    async def of_call(self, principal_id: str, call_id: str) -> Approval | None:
        """Return the question a call has, with expiry applied."""
        async with self._db.session() as session:
            return await self._of_call(session, principal_id, call_id)

    async def get(self, approval_id: str, principal: Principal) -> Approval:
        """Return an approval that the principal asked for or may decide."""
        async with self._db.session() as session:
            await self._expire(session)
            row = await session.get(ApprovalRow, approval_id)
        if row is None or not shown(row).visible_to(principal):
            raise NotFound(f"There is no approval {approval_id!r}")
        return shown(row)

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
        found = (shown(row) for row in rows)
        return [approval for approval in found if approval.visible_to(principal)][:limit]

    async def until_answered(self, approval_id: str, principal: Principal) -> Approval:
        """Wait until a question has its answer, from whichever door, or has expired."""
        after = await self._events.last(STREAM)
        while (found := await self.get(approval_id, principal)).state == "pending":
            # Nobody may look when it expires, and then nobody says so.
            left = (found.expires_at - datetime.now(UTC)).total_seconds()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(max(left, 0.2), _LOOK_SECONDS)):
                    async for event in self._events.follow(STREAM, after):
                        after = event.seq
                        if event.data.get("id") == approval_id:
                            break
        return found

    async def barred(self, approval: Approval, by: Principal, surface: Surface) -> Bar | None:
        """Say what keeps somebody from approving a question here, None when nothing does."""
        return bar(approval.question, await self._answerer(approval, by, surface), approving=True)

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
            PermissionDenied: when the approver lacks the permission, the door cannot decide, or
                somebody else must.
            FreshSignInNeeded: when it weighs so much that they must show first who they are.
            Conflict: when it was already decided, used, or has expired.
        """
        if decision == "request_changes" and not comment.strip():
            raise InvalidInput("Say what should change.", hint="Add a comment.")
        asked = await self.get(approval_id, by)
        who = await self._answerer(asked, by, surface)
        if asked.state == "pending":
            found = bar(asked.question, who, approving=decision == "approve")
            if found is not None:
                raise barred(found, asked)
        async with self._db.session() as session:
            row = await session.get(ApprovalRow, approval_id, with_for_update=True)
            if row is None or envelope_sha256(row.envelope) != row.sha256:
                # The card shows the envelope; what runs is what was hashed.
                raise Conflict("This approval was altered; nobody can decide it.", hint="Ask anew.")
            if row.state == "pending" and await self._is_over(session, row):
                raise Conflict("This approval has expired.", hint="Ask again.")
            if row.state == WITHDRAWN:
                raise Conflict(f"This is no longer needed: {row.comment}", hint="Nothing has run.")
            if row.state != "pending":
                raise Conflict(f"This approval is already {row.state.replace('_', ' ')}.")
            row.state = _STATES[decision]
            row.decided_by, row.decided_by_id = by.name, by.id
            row.decided_where = surface.value
            row.comment = hide(comment.strip())[:2000]
            row.decided_at = func.clock_timestamp()
            await session.flush()
            await session.refresh(row)
            decided = shown(row)
            if decision == "deny":
                await self._grants.learn_denied(session, decided)
            await announce(self._events, "approval.decided", decided, session)
        return decided

    async def withdraw(self, session_id: str, why: str) -> None:
        """Close the open questions of a session that does not go on."""
        async with self._db.session() as session:
            await withdraw(session, self._events, of_session(session_id), why)

    async def check_approver(self, approval: Approval) -> None:
        """Let an approval count only while whoever gave it may still give it.

        Raises:
            Conflict: when their account or their right is gone.
        """
        if approval.decided_by_id is None:
            return
        try:
            present = await self._auth.principal_for_user(approval.decided_by_id)
        except NotAuthenticated:
            present = None
        if present is None or not present.can(approval.permission):
            raise Conflict(
                f"{approval.decided_by} approved this, and may not any more.", hint="Ask anew."
            )

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

    async def _answerer(self, approval: Approval, by: Principal, surface: Surface) -> Answerer:
        present = await self._auth.current(by)
        # What was handed in may be narrower than the rows, never wider than they are now.
        who = by if present.can(approval.permission) else present
        question = approval.question
        fresh = question.level is Level.CRITICAL and await self._auth.is_fresh(by, self._fresh)
        others = needs_second(question, others=True) and await self._others(approval)
        return Answerer(who, surface, fresh=fresh, others=others)

    async def _others(self, approval: Approval) -> bool:
        """Say whether somebody else than the requester could approve."""
        for user in await self._auth.people.list():
            if user.enabled and user.id != approval.principal_id:
                try:
                    if (await self._auth.principal_for_user(user.id)).can(approval.permission):
                        return True
                except NebulaError:  # gone in this moment
                    continue
        return False

    async def _is_over(self, session: AsyncSession, row: ApprovalRow) -> bool:
        return bool(await session.scalar(select(row.expires_at <= func.clock_timestamp())))

    async def _of_call(
        self, session: AsyncSession, principal_id: str, call_id: str
    ) -> Approval | None:
        await self._expire(session)
        row = await session.scalar(
            select(ApprovalRow).where(
                ApprovalRow.principal_id == principal_id, ApprovalRow.call_id == call_id
            )
        )
        return None if row is None else shown(row)

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
            await announce(self._events, "approval.decided", shown(row), session)
