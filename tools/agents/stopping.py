"""Ends runs before their end; the process that runs one hears of it within a second."""

from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from memory.turns import cancel_turns
from nebula.auth.principal import Principal
from nebula.errors import NotFound
from nebula.jobs.schedules.service import database_now
from nebula.tool.withdrawing import of_session, withdraw
from tools.agents.models import AgentRow, AgentRunRow
from tools.agents.runs import OPEN, Runs
from tools.agents.service import ADMIN, found

if TYPE_CHECKING:
    from nebula.app import Parts

STOPPED = "It was stopped before its end."


async def stop_run(session: AsyncSession, parts: "Parts", run: AgentRunRow) -> bool:
    """Stop a run whose row is locked, and take back what it asked; say whether it went on.

    One in line or one that waits ends at once; who runs one that works hears of it.
    """
    if run.state not in OPEN:
        return False
    if run.session_id is not None:
        await withdraw(session, parts.events, of_session(run.session_id), STOPPED)
        await cancel_turns(session, run.session_id, run.owner_id)
    if run.state == "running":
        run.stop_asked = True
        return True
    run.state, run.problem, run.ended_at = "cancelled", STOPPED, await database_now(session)
    run.to_tell = False
    agent = await session.get(AgentRow, run.agent_id)
    assert agent is not None
    await session.flush()
    await Runs(parts).announce(session, agent, run)
    return True


async def stop_runs_of(parts: "Parts", principal: Principal, which: str) -> int:
    """Stop a run by its id, or all that an agent has; return how many.

    Raises:
        NotFound: when there is no such run or agent that the principal may see.
    """
    async with parts.db.session() as session:
        query = select(AgentRunRow).where(AgentRunRow.state.in_(OPEN)).with_for_update()
        if which.startswith("run_"):
            known = await session.get(AgentRunRow, which)
            theirs = known is not None and (known.owner_id == principal.id or principal.can(ADMIN))
            if not theirs:
                raise NotFound(f"There is no run {which!r}", hint="See agents_list_runs.")
            query = query.where(AgentRunRow.id == which)
        else:
            agent = await found(session, principal, which)
            query = query.where(AgentRunRow.agent_id == agent.id)
        runs = list(await session.scalars(query))
        return sum([await stop_run(session, parts, run) for run in runs])


async def to_stop(parts: "Parts") -> list[tuple[AgentRow, AgentRunRow]]:
    """Return the runs that are at work and shall end."""
    query = (
        select(AgentRow, AgentRunRow)
        .join(AgentRunRow, AgentRunRow.agent_id == AgentRow.id)
        .where(AgentRunRow.stop_asked, AgentRunRow.state.in_(("running", "waiting")))
    )
    async with parts.db.session() as session:
        return [(row[0], row[1]) for row in (await session.execute(query)).all()]
