"""Agents as their owner sees them: what they are, when they run next, and how they stand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.errors import NoModel, NotFound
from nebula.events.triggers import Trigger
from nebula.jobs.schedules.schedule import Schedule
from nebula.jobs.schedules.service import database_now
from nebula.jobs.schedules.timing import Cron, Every
from nebula.jobs.schedules.words import coming, in_words
from nebula.tool.models import ToolCall
from tools.agents import rights
from tools.agents.models import AgentRow, AgentRunRow
from tools.agents.notices import hint_of, notice_of
from tools.agents.schemas import Agent, LastRun, Run, Used

if TYPE_CHECKING:
    from nebula.app import Parts

_DAY = timedelta(days=1)
_TIMES = 3


@dataclass
class Standing:
    """How an agent stands, by its runs."""

    last_run: LastRun | None = None
    latest: AgentRunRow | None = None
    """Of all, also of those that were not started."""
    used: Used = field(default_factory=Used)


async def shown_agents(parts: "Parts", rows: Sequence[AgentRow]) -> list[Agent]:
    """Return rows as people see them, in their order."""
    if not rows:
        return []
    async with parts.db.session() as session:
        known = await standings(session, [row.id for row in rows])
    return [await _shown(parts, row, known[row.id]) for row in rows]


def shown_run(agent: str, run: AgentRunRow) -> Run:
    """Return a run of the agent of this name as its owner sees it."""
    kept = {name: getattr(run, name) for name in Run.model_fields if hasattr(run, name)}
    return Run.model_validate({**kept, "agent": agent, "hint": hint_of(agent, run.code)})


async def _shown(parts: "Parts", row: AgentRow, standing: Standing) -> Agent:
    trigger = None if row.trigger is None else Trigger.model_validate(row.trigger)
    schedule = await _schedule(parts, row)
    kept = {name: getattr(row, name) for name in Agent.model_fields if hasattr(row, name)}
    kept |= {"rights": rights.of_row(row.rights), "trigger": trigger}
    latest = standing.latest
    if latest is not None and latest.code == NoModel.code:
        # With a model it runs again by itself, and nobody has to do anything.
        latest = None if await parts.router.candidates(row.tier) else latest
    return Agent(
        **kept,
        when=_when(trigger, schedule),
        **_times(row, schedule),
        last_run=standing.last_run,
        used=standing.used,
        notice=notice_of(row, latest),
    )


async def _schedule(parts: "Parts", row: AgentRow) -> Schedule | None:
    if row.schedule_id is None:
        return None
    try:
        return await parts.schedules.get(row.schedule_id, rights.acting(row))
    except NotFound:
        return None


def _times(row: AgentRow, schedule: Schedule | None) -> dict[str, Any]:
    """Return when it runs by a schedule; a schedule that rests has no next times."""
    if schedule is None:
        return {}
    timing, times = schedule.timing, []
    first = schedule.next_fire_at
    if row.enabled and schedule.enabled and first is not None:
        times = [first, *coming(timing, first, _TIMES - 1)]
    said: dict[str, Any] = {"next_runs": times, "next_run_at": times[0] if times else None}
    match timing:
        case Cron():
            said |= {"cron": timing.expression, "timezone": timing.timezone}
        case Every():
            said["every_minutes"] = round(timing.seconds / 60)
    return said


def _when(trigger: Trigger | None, schedule: Schedule | None) -> str:
    said = []
    if schedule is not None:
        said.append(in_words(schedule.timing))
    if trigger is not None:
        where = ", ".join(f"{name} is {value}" for name, value in trigger.where.items())
        said.append(f"on {trigger.event}" + (f" where {where}" if where else ""))
    return "; ".join(said) or "when it is started"


async def standings(session: AsyncSession, ids: Sequence[str]) -> dict[str, Standing]:
    """Return each agent's latest run, and what it has used of its limits of 24 hours."""
    found = {agent_id: Standing() for agent_id in ids}
    since = await database_now(session) - _DAY
    mine = AgentRunRow.agent_id.in_(ids)
    await _latest(session, ids, since, found)
    today = (
        select(AgentRunRow.agent_id, func.count(), func.sum(AgentRunRow.tokens))
        .where(mine, AgentRunRow.created_at > since, AgentRunRow.state != "skipped")
        .group_by(AgentRunRow.agent_id)
    )
    for agent_id, runs, tokens in (await session.execute(today)).all():
        found[agent_id].used = Used(runs=runs, tokens=int(tokens or 0))
    # An agent's runs of a session are counted once, however many there are of them.
    sessions = (
        select(AgentRunRow.agent_id, AgentRunRow.session_id)
        .where(mine, AgentRunRow.session_id.is_not(None))
        .distinct()
        .subquery()
    )
    spent = (
        select(sessions.c.agent_id, func.sum(ToolCall.cost))
        .join(ToolCall, ToolCall.session_id == sessions.c.session_id)
        .where(ToolCall.started_at > since)
        .group_by(sessions.c.agent_id)
    )
    for agent_id, money in (await session.execute(spent)).all():
        found[agent_id].used.money = Decimal(money or 0)
    return found


async def _latest(
    session: AsyncSession, ids: Sequence[str], since: datetime, found: Mapping[str, Standing]
) -> None:
    """Note the latest runs of agents; one that was not started is news for a day."""
    # The latest of both kinds: one that worked, and one that was not started.
    skipped = AgentRunRow.state == "skipped"
    latest = (
        select(AgentRunRow)
        .where(AgentRunRow.agent_id.in_(ids), ~(AgentRunRow.dry_run & skipped))
        .ext(distinct_on(AgentRunRow.agent_id, skipped))
        .order_by(AgentRunRow.agent_id, skipped, AgentRunRow.created_at.desc())
    )
    for run in await session.scalars(latest):
        one = found[run.agent_id]
        news = run.state != "skipped" or run.created_at > since
        if news and (one.latest is None or run.created_at > one.latest.created_at):
            one.latest = run
        if run.state != "skipped":
            one.last_run = LastRun.model_validate(run, from_attributes=True)
