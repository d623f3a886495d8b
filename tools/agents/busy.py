"""Which agents somebody may want to look at right now: one small query, for what asks often."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel
from sqlalchemy import and_, or_, select
from sqlalchemy.dialects.postgresql import distinct_on

from nebula.auth.principal import Principal
from tools.agents.models import AgentRow, AgentRunRow
from tools.agents.runs import OPEN
from tools.agents.service import ADMIN

if TYPE_CHECKING:
    from nebula.app import Parts

_MOST = 50


class Busy(BaseModel):
    """An agent that runs, waits for a person, or was switched off by its failures."""

    id: str
    name: str
    owner_id: str
    owner_name: str
    state: Literal["queued", "running", "waiting", "off"]
    dry_run: bool
    session_id: str | None
    """The conversation of the run that goes on."""
    stopped_because: str


async def busy_agents(parts: "Parts", principal: Principal) -> Sequence[Busy]:
    """Return one's own such agents by name, or everybody's; at most fifty."""
    going = (
        select(AgentRunRow)
        .where(AgentRunRow.state.in_(OPEN))
        .ext(distinct_on(AgentRunRow.agent_id))
        .order_by(AgentRunRow.agent_id, AgentRunRow.created_at.desc())
        .subquery()
    )
    failed = and_(~AgentRow.enabled, AgentRow.failures > 0)
    query = (
        select(AgentRow, going.c.state, going.c.dry_run, going.c.session_id)
        .outerjoin(going, going.c.agent_id == AgentRow.id)
        .where(or_(going.c.state.is_not(None), failed))
        .order_by(AgentRow.name)
        .limit(_MOST)
    )
    if not principal.can(ADMIN):
        query = query.where(AgentRow.owner_id == principal.id)
    async with parts.db.session() as session:
        rows = (await session.execute(query)).all()
    return [
        Busy(
            id=row.id,
            name=row.name,
            owner_id=row.owner_id,
            owner_name=row.owner_name,
            state=state or "off",
            dry_run=bool(dry_run),
            session_id=session_id,
            stopped_because=row.stopped_because,
        )
        for row, state, dry_run, session_id in rows
    ]
