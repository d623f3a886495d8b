"""Starts agents when something happens: each event once, in its order, whoever looks."""

from typing import TYPE_CHECKING

from sqlalchemy import select

from nebula.events.event import Event
from nebula.events.heard import heard_since, is_known, with_news
from nebula.events.triggers import Trigger, told
from tools.agents import rights
from tools.agents.models import AgentRow
from tools.agents.runs import Runs, Wanted

if TYPE_CHECKING:
    from nebula.app import Parts


async def listen(parts: "Parts", runs: Runs) -> int:
    """Look at what has happened since, and return how many runs were asked for."""
    waiting = select(AgentRow.id, AgentRow.trigger, AgentRow.heard).where(
        AgentRow.enabled, AgentRow.trigger.is_not(None)
    )
    async with parts.db.session() as session:
        rows = (await session.execute(waiting)).all()
    news = await with_news(parts, ((row[0], row[1], row[2]) for row in rows))
    return sum([await _of_agent(parts, runs, each) for each in news])


async def _of_agent(parts: "Parts", runs: Runs, agent_id: str) -> int:
    mine = select(AgentRow).where(AgentRow.id == agent_id, AgentRow.enabled)
    async with parts.db.session() as session:
        agent = await session.scalar(mine.with_for_update(skip_locked=True))
        if agent is None or not is_known(agent.trigger):
            return 0
        trigger = Trigger.model_validate(agent.trigger)
        hits, agent.heard = await heard_since(parts, trigger, agent.heard, rights.watching(agent))
        for event in hits:
            await runs.asked(session, agent, _wanted(trigger, event))
        return len(hits)


def _wanted(trigger: Trigger, event: Event) -> Wanted:
    cause = f"event:{event.stream}:{event.seq}"
    return Wanted(cause, f"event {event.kind}", by_itself=True, event=told(trigger, event.data))
