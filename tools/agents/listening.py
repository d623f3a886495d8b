"""Starts agents when something happens: each event once, in its order, whoever looks."""

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from nebula.errors import NotAuthenticated
from nebula.events.event import Event
from tools.agents import rights
from tools.agents.models import AgentRow
from tools.agents.runs import Runs, Wanted
from tools.agents.spec import EVENTS, Trigger, matches, source_of, told

if TYPE_CHECKING:
    from nebula.app import Parts

_AT_ONCE = 200
_OTHERS = "events:admin"


async def listen(parts: "Parts", runs: Runs) -> int:
    """Look at what has happened since, and return how many runs were asked for."""
    waiting = select(AgentRow.id, AgentRow.trigger, AgentRow.heard).where(
        AgentRow.enabled, AgentRow.trigger.is_not(None)
    )
    async with parts.db.session() as session:
        rows = (await session.execute(waiting)).all()
    # An event that only an older version knew is not waited for any more.
    known = [(row[0], EVENTS[row[1]["event"]].stream, row[2]) for row in rows if _known(row[1])]
    last = {stream: await parts.events.last(stream) for stream in {each[1] for each in known}}
    asked = 0
    for agent, stream, heard in known:
        if last[stream] > heard:
            asked += await _of_agent(parts, runs, agent)
    return asked


def _known(trigger: dict[str, Any] | None) -> bool:
    return trigger is not None and trigger["event"] in EVENTS


async def _of_agent(parts: "Parts", runs: Runs, agent_id: str) -> int:
    mine = select(AgentRow).where(AgentRow.id == agent_id, AgentRow.enabled)
    async with parts.db.session() as session:
        agent = await session.scalar(mine.with_for_update(skip_locked=True))
        if agent is None or agent.trigger is None or not _known(agent.trigger):
            return 0
        trigger = Trigger.model_validate(agent.trigger)
        events = await parts.events.read(source_of(trigger).stream, agent.heard, limit=_AT_ONCE)
        hits = [each for each in events if matches(trigger, each.kind, each.data)]
        hits = [each for each in hits if await _may_hear(parts, agent, each)]
        for event in hits:
            await runs.asked(session, agent, _wanted(trigger, event))
        if events:
            agent.heard = events[-1].seq
        return len(hits)


def _wanted(trigger: Trigger, event: Event) -> Wanted:
    cause = f"event:{event.stream}:{event.seq}"
    return Wanted(cause, f"event {event.kind}", by_itself=True, event=told(trigger, event.data))


async def _may_hear(parts: "Parts", agent: AgentRow, event: Event) -> bool:
    """Say whether an event is the owner's, everybody's, or one they may see all the same."""
    if event.owner in {None, agent.owner_id}:
        return True
    try:
        owner = await parts.auth.current(rights.watching(agent))
    except NotAuthenticated:
        return False
    return owner.can(_OTHERS)
