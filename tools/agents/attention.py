"""Which of somebody's agents stand still until they do something."""

from sqlalchemy import select

from nebula.db.engine import Database
from nebula.errors import NoModel
from nebula.notice import Notice
from tools.agents.models import AgentRow
from tools.agents.notices import notice_of
from tools.agents.showing import standings


async def standing_still(db: Database, owner_id: str) -> list[Notice]:
    """Return what is the matter with agents of an owner: switched off, or at their limits.

    That there is no model is the installation's matter, and told with the agent.
    """
    async with db.session() as session:
        mine = select(AgentRow).where(AgentRow.owner_id == owner_id).order_by(AgentRow.name)
        rows = list(await session.scalars(mine))
        if not rows:
            return []
        known = await standings(session, [row.id for row in rows])
    latest = {row.id: known[row.id].latest for row in rows}
    runs = {key: run for key, run in latest.items() if run and run.code != NoModel.code}
    found = (notice_of(row, runs.get(row.id)) for row in rows)
    return [notice for notice in found if notice is not None]
