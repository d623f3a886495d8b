"""Takes questions back that nobody needs any more, with what was approved and has not run."""

from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, and_, func, not_, update
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.tool.approval import announce, shown
from nebula.tool.models import ApprovalRow

if TYPE_CHECKING:
    from nebula.events.bus import Events

WITHDRAWN = "withdrawn"


async def withdraw(
    session: AsyncSession, events: "Events", which: ColumnElement[bool], why: str
) -> None:
    """Close open questions in the caller's transaction; an answer after it changes nothing.

    An answer that came before it, and that no call has used up yet, is taken back too: what
    asked is not there any more.
    """
    unused = ApprovalRow.state.in_(("pending", "approved"))
    gone = update(ApprovalRow).where(which, unused).values(state=WITHDRAWN, comment=why)
    for row in (await session.scalars(gone.returning(ApprovalRow))).all():
        await announce(events, "approval.decided", shown(row), session)


def of_session(session_id: str) -> ColumnElement[bool]:
    """Return which questions a conversation asked."""
    return ApprovalRow.session_id == session_id


def of_calls(principal_id: str, prefix: str, *, but: str = "") -> ColumnElement[bool]:
    """Return which questions were asked by somebody's calls whose ids begin so.

    `but` is the beginning of those that are kept.
    """
    mine = and_(
        ApprovalRow.principal_id == principal_id, func.starts_with(ApprovalRow.call_id, prefix)
    )
    return and_(mine, not_(func.starts_with(ApprovalRow.call_id, but))) if but else mine
