"""Standing grants as rows: offered after clean runs, given by a person, counted, withdrawn at once."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pydantic import BaseModel
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.principal import Principal
from nebula.db.engine import Database
from nebula.errors import Conflict, NotFound
from nebula.policy.ask import Level
from nebula.policy.grants import Grant, typed
from nebula.policy.labels import Label
from nebula.policy.trust import Run, earned, trustable
from nebula.tool.approval import STREAM, Approval, shown
from nebula.tool.definition import AnyTool
from nebula.tool.models import ApprovalRow, GrantRow, ToolCall

if TYPE_CHECKING:
    from nebula.events.bus import Events
    from nebula.tool.call import Call

_LOOKED_AT = 200
"""Questions about one tool that are looked at for clean runs in a row."""
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 11))")
_ENDED = ("used", "denied", "changes_requested")


class StandingGrant(BaseModel):
    """A grant, or the offer of one."""

    id: str
    tool: str
    selectors: dict[str, Any]
    principal_id: str
    principal_name: str
    state: str
    uses: int
    created_at: datetime
    decided_by: str | None
    expires_at: datetime | None
    last_used_at: datetime | None
    ended_at: datetime | None
    ended_because: str

    @property
    def said(self) -> str:
        """Return the values it is about, on one line."""
        values = self.selectors.items()
        said = (f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in values)
        return ", ".join(said) or "no arguments"


class Grants:
    """Offers, gives, counts and withdraws standing grants."""

    def __init__(self, db: Database, events: "Events") -> None:
        """Take the database, and where offers are announced."""
        self._db = db
        self._events = events

    async def active(self, principal_id: str, tool: str) -> tuple[Grant, ...]:
        """Return the grants a person's calls of a tool may run on now."""
        async with self._db.session() as session:
            rows = await session.scalars(_active(principal_id, tool))
            return tuple(_grant(row) for row in rows)

    async def use(self, session: AsyncSession, grant_id: str) -> None:
        """Count a use, in the transaction that records the call's start.

        Raises:
            Conflict: when the grant has ended since it was looked up.
        """
        used = await session.scalar(
            update(GrantRow)
            .where(
                GrantRow.id == grant_id,
                GrantRow.state == "active",
                GrantRow.expires_at > func.clock_timestamp(),
            )
            .values(uses=GrantRow.uses + 1, last_used_at=func.clock_timestamp())
            .returning(GrantRow.id)
        )
        if used is None:
            raise Conflict("The standing grant for this has just ended.", hint="Ask again.")

    async def learn(self, session: AsyncSession, call: "Call", *, succeeded: bool) -> None:
        """Take notice of how a call ended that a person or a grant had let run."""
        if call.grant_id is not None and not succeeded:
            await self._end(session, call.grant_id, "A run on it did not end well.")
        elif call.approval is not None and call.tool is not None and succeeded:
            await self._offer(session, call.tool, call.approval)

    async def learn_denied(self, session: AsyncSession, approval: Approval) -> None:
        """Withdraw the grants that cover a call to which a person has said no."""
        for row in await session.scalars(_active(approval.principal_id, approval.tool)):
            if _grant(row).fits(approval.arguments):
                await self._end(session, row.id, f"{approval.decided_by} said no to such a call.")

    async def list(self, *, ended: bool = False) -> list[StandingGrant]:
        """Return offers and grants in force, the newest first; `ended` adds those that are over."""
        query = select(GrantRow).order_by(GrantRow.created_at.desc(), GrantRow.id).limit(200)
        if not ended:
            query = query.where(
                (GrantRow.state == "proposed")
                | (GrantRow.state == "active") & (GrantRow.expires_at > func.clock_timestamp())
            )
        async with self._db.session() as session:
            return [_shown(row) for row in await session.scalars(query)]

    async def get(self, grant_id: str) -> StandingGrant:
        """Return an offer or grant; raises NotFound."""
        async with self._db.session() as session:
            row = await session.get(GrantRow, grant_id)
            if row is None:
                raise NotFound(f"There is no standing grant {grant_id!r}")
            return _shown(row)

    async def accept(self, grant_id: str, by: Principal, lasts: timedelta) -> StandingGrant:
        """Turn an offer into a grant that ends by itself; only trusted code may say who gives it."""
        values = {
            "state": "active",
            "decided_by": by.name,
            "expires_at": func.clock_timestamp() + lasts,
        }
        return await self._moved(grant_id, "proposed", values)

    async def decline(self, grant_id: str, by: Principal) -> StandingGrant:
        """Turn an offer down; five more clean runs may bring it up again."""
        return await self._moved(grant_id, "proposed", _over("declined", by.name, "declined it"))

    async def revoke(self, grant_id: str, by: Principal, why: str) -> StandingGrant:
        """End a grant at once."""
        said = f"withdrew it: {why}" if why else "withdrew it"
        return await self._moved(grant_id, "active", _over("withdrawn", by.name, said))

    async def _moved(self, grant_id: str, before: str, values: Mapping[str, Any]) -> StandingGrant:
        async with self._db.session() as session:
            row = await session.scalar(
                update(GrantRow)
                .where(GrantRow.id == grant_id, GrantRow.state == before)
                .values(values)
                .returning(GrantRow)
            )
            if row is None:
                await self.get(grant_id)
                raise Conflict(f"It is not {before} any more.", hint="policy_list_grants shows it.")
            await self._announce(row, f"grant.{row.state}", session)
            return _shown(row)

    async def _end(self, session: AsyncSession, grant_id: str, why: str) -> None:
        row = await session.scalar(
            update(GrantRow)
            .where(GrantRow.id == grant_id, GrantRow.state == "active")
            .values(state="withdrawn", ended_at=func.clock_timestamp(), ended_because=why)
            .returning(GrantRow)
        )
        if row is not None:
            await self._announce(row, "grant.withdrawn", session)

    async def _offer(self, session: AsyncSession, tool: AnyTool, approval: Approval) -> None:
        if not trustable(tool, approval.level):
            return
        # Of two runs that end at once, the second sees the offer of the first.
        key = {"key": f"{approval.principal_id}:{tool.name}"}
        await session.execute(_LOCK, key)
        selectors = {name: approval.arguments.get(name) for name in tool.selectors}
        known = await self._latest(session, approval.principal_id, tool.name, selectors)
        if known is not None and known.state == "proposed":
            return
        since = None if known is None else known.ended_at or known.expires_at
        if not earned(await self._runs(session, approval, selectors, since)):
            return
        row = GrantRow(
            id=f"gra_{uuid4().hex[:20]}",
            tool=tool.name,
            selectors=selectors,
            principal_id=approval.principal_id,
            principal_name=approval.principal_name,
        )
        session.add(row)
        await session.flush()
        await self._announce(row, "grant.proposed", session)

    async def _latest(
        self, session: AsyncSession, principal_id: str, tool: str, selectors: Mapping[str, Any]
    ) -> GrantRow | None:
        rows = await session.scalars(
            select(GrantRow)
            .where(GrantRow.principal_id == principal_id, GrantRow.tool == tool)
            .order_by(GrantRow.created_at.desc())
        )
        return next((row for row in rows if typed(row.selectors) == typed(selectors)), None)

    async def _runs(
        self,
        session: AsyncSession,
        approval: Approval,
        selectors: Mapping[str, Any],
        since: datetime | None,
    ) -> Sequence[Run]:
        """Return what became of the same question before, the newest first."""
        same = (ToolCall.principal_id == ApprovalRow.principal_id) & (
            ToolCall.call_id == ApprovalRow.call_id
        )
        query = (
            select(ApprovalRow, ToolCall.state)
            .outerjoin(ToolCall, same)
            .where(ApprovalRow.principal_id == approval.principal_id)
            .where(ApprovalRow.tool == approval.tool, ApprovalRow.state.in_(_ENDED))
            .order_by(ApprovalRow.decided_at.desc())
            .limit(_LOOKED_AT)
        )
        if since is not None:
            query = query.where(ApprovalRow.created_at > since)
        found = [(shown(row), state) for row, state in await session.execute(query)]
        return [
            _run(each, state)
            for each, state in found
            if typed({name: each.arguments.get(name) for name in selectors}) == typed(selectors)
        ]

    async def _announce(self, row: GrantRow, kind: str, session: AsyncSession) -> None:
        data = {"id": row.id, "tool": row.tool, "state": row.state, "permission": "policy:admin"}
        await self._events.publish(STREAM, kind, data, owner=row.principal_id, session=session)


def _active(principal_id: str, tool: str) -> Any:
    return select(GrantRow).where(
        GrantRow.principal_id == principal_id,
        GrantRow.tool == tool,
        GrantRow.state == "active",
        GrantRow.expires_at > func.clock_timestamp(),
    )


def _run(approval: Approval, state: str | None) -> Run:
    return Run(
        approved=approval.state == "used",
        succeeded=state == "succeeded",
        tainted=Label.OUTSIDE in approval.labels,
        rule=approval.rule,
        level=Level(approval.level),
    )


def _over(state: str, name: str, said: str) -> dict[str, Any]:
    return {
        "state": state,
        "ended_at": func.clock_timestamp(),
        "ended_because": f"{name} {said}.",
    }


def _grant(row: GrantRow) -> Grant:
    assert row.expires_at is not None
    return Grant(row.id, row.tool, row.selectors, row.principal_id, row.expires_at)


def _shown(row: GrantRow) -> StandingGrant:
    return StandingGrant.model_validate(row, from_attributes=True)
