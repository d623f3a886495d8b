"""Runs: asked for once per cause, begun once, and ended in the transaction that ends their turn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.frozen import Frozen
from nebula.auth.principal import Principal
from nebula.auth.tokens import new_id
from nebula.errors import Conflict, NotFound
from nebula.jobs.schedules.service import database_now
from nebula.policy.labels import Label
from nebula.secrets.redact import hide
from nebula.tool.models import ToolCall
from tools.agents.ending import LIMITS
from tools.agents.models import AgentRow, AgentRunRow
from tools.agents.pacing import Present, refusal, spent
from tools.agents.schemas import Handed, Run
from tools.agents.service import ADMIN, found
from tools.agents.showing import shown_run
from tools.agents.spec import Limits
from tools.agents.thinking import check_thinks

if TYPE_CHECKING:
    from nebula.app import Parts

_DAY = timedelta(days=1)
_KEPT = timedelta(days=90)
_SKIPPED_KEPT = timedelta(days=7)
OPEN = ("queued", "running", "waiting")


@dataclass(frozen=True)
class Wanted:
    """A run that somebody or something asks for."""

    cause: str
    """The call, tick or event that asks: it gets one run, however often it is told."""
    started_by: str
    by_itself: bool = False
    task: str = ""
    event: str = ""
    labels: frozenset[Label] = field(default_factory=lambda: frozenset({Label.USER}))
    dry_run: bool = False
    handed: Sequence[Handed] = ()
    """Reports of other agents that it shall know."""
    within: Frozen | None = None
    """The rights of whoever asks, which it does not exceed; None for the agent's own alone."""


@dataclass(frozen=True)
class Start:
    """A run that is to begin or to go on, with what is left of its limits."""

    agent: AgentRow
    run: AgentRunRow
    money: Decimal | None

    @property
    def limits(self) -> Limits:
        """Return the agent's limits as they are now."""
        return Limits.model_validate(self.agent.limits)

    @property
    def seconds(self) -> float:
        """Return how long it may still work."""
        return max(0.0, self.limits.minutes * 60 - self.run.seconds)

    @property
    def tokens(self) -> int:
        """Return how many tokens it may still use."""
        return max(0, self.limits.tokens - self.run.tokens)


class Runs:
    """The runs of all agents."""

    def __init__(self, parts: "Parts") -> None:
        """Take the database and the events of a program."""
        self._parts = parts

    async def ask(self, agent: str, principal: Principal, wanted: Wanted) -> Run:
        """Put a run in line, or return the one its cause has got already.

        What asks by itself and may not now is put on record as skipped.

        Raises:
            NotFound: when there is no such agent.
            Conflict: when a person asks and it may not be now.
        """
        async with self._parts.db.session() as session:
            row = await found(session, principal, agent, lock=True)
            return shown_run(row.name, await self.asked(session, row, wanted))

    async def check(self, agent: str, principal: Principal, task: str) -> None:
        """Return when a run that a person asks for can be thought about now.

        Raises:
            NotFound: when there is no such agent.
            NoModel: when no model is there and it needs one.
        """
        async with self._parts.db.session() as session:
            row = await found(session, principal, agent)
        await check_thinks(self._parts, row, task)

    async def asked(self, session: AsyncSession, agent: AgentRow, wanted: Wanted) -> AgentRunRow:
        """Put a run in line within a transaction that has locked the agent's row."""
        known = await session.scalar(
            select(AgentRunRow).where(
                AgentRunRow.agent_id == agent.id, AgentRunRow.cause == wanted.cause
            )
        )
        if known is not None:
            return known
        present = await _present(session, agent)
        limits = Limits.model_validate(agent.limits)
        why = refusal(present, limits, by_itself=wanted.by_itself, dry_run=wanted.dry_run)
        spends = bool(why) and why == spent(present, limits)
        if why and not wanted.by_itself:
            raise Conflict(why, hint="See its runs with agents_list_runs.")
        run = AgentRunRow(
            id=new_id("run"),
            agent_id=agent.id,
            owner_id=agent.owner_id,
            cause=wanted.cause,
            started_by=wanted.started_by,
            state="skipped" if why else "queued",
            dry_run=wanted.dry_run,
            task=hide(wanted.task),
            event=wanted.event,
            labels=sorted({*agent.labels, *wanted.labels}),
            handed=[each.model_dump(mode="json") for each in wanted.handed],
            within=None if wanted.within is None else wanted.within.model_dump(mode="json"),
            problem=why,
            code=LIMITS if spends else "",
            to_tell=spends and not await _known(session, agent),
            ended_at=present.now if why else None,
        )
        session.add(run)
        await session.flush()
        await session.refresh(run)
        await self.announce(session, agent, run)
        return run

    async def list(
        self,
        principal: Principal,
        agent: str | None = None,
        state: str | None = None,
        limit: int = 20,
    ) -> Sequence[Run]:
        """List runs, newest first: of one agent, or of all that the principal may see."""
        query = select(AgentRow, AgentRunRow).join(AgentRunRow, AgentRunRow.agent_id == AgentRow.id)
        async with self._parts.db.session() as session:
            if agent is not None:
                query = query.where(AgentRow.id == (await found(session, principal, agent)).id)
            elif not principal.can(ADMIN):
                query = query.where(AgentRow.owner_id == principal.id)
            if state is not None:
                query = query.where(AgentRunRow.state == state)
            newest = query.order_by(AgentRunRow.created_at.desc()).limit(limit)
            return await _shown(
                session, [(row[0], row[1]) for row in await session.execute(newest)]
            )

    async def get(self, principal: Principal, run_id: str) -> Run:
        """Return a run by its id; raises NotFound also when it is somebody else's."""
        query = select(AgentRow, AgentRunRow).join(AgentRunRow, AgentRunRow.agent_id == AgentRow.id)
        query = query.where(AgentRunRow.id == run_id)
        if not principal.can(ADMIN):
            query = query.where(AgentRow.owner_id == principal.id)
        async with self._parts.db.session() as session:
            one = (await session.execute(query)).first()
            if one is None:
                raise NotFound(f"There is no run {run_id!r}")
            return (await _shown(session, [(one[0], one[1])]))[0]

    async def startable(self, limit: int = 8) -> Sequence[Start]:
        """Return the runs that can begin now: the oldest of each agent that does nothing else."""
        active = select(AgentRunRow.agent_id).where(AgentRunRow.state.in_(("running", "waiting")))
        query = (
            select(AgentRow, AgentRunRow)
            .join(AgentRunRow, AgentRunRow.agent_id == AgentRow.id)
            .where(AgentRunRow.state == "queued", AgentRow.id.not_in(active))
            .ext(distinct_on(AgentRunRow.agent_id))
            .order_by(AgentRunRow.agent_id, AgentRunRow.created_at)
            .limit(limit)
        )
        async with self._parts.db.session() as session:
            rows = (await session.execute(query)).all()
            return [await _start(session, agent, run) for agent, run in rows]

    async def of_turn(self, turn_id: str) -> Start | None:
        """Return the run that goes on with a turn."""
        going_on = update(AgentRunRow).where(
            AgentRunRow.turn_id == turn_id, AgentRunRow.state.in_(("running", "waiting"))
        )
        async with self._parts.db.session() as session:
            changed = await session.execute(
                going_on.values(state="running").returning(AgentRunRow.agent_id, AgentRunRow.id)
            )
            ids = changed.first()
            if ids is None:
                return None
            agent, run = await session.get(AgentRow, ids[0]), await session.get(AgentRunRow, ids[1])
            assert agent is not None
            assert run is not None
            await self.announce(session, agent, run)
            return await _start(session, agent, run)

    async def working(self) -> Mapping[str, str]:
        """Return the runs that have begun and not ended: by their turn, their id."""
        begun = select(AgentRunRow.turn_id, AgentRunRow.id).where(
            AgentRunRow.state.in_(("running", "waiting"))
        )
        async with self._parts.db.session() as session:
            return {str(row[0]): row[1] for row in (await session.execute(begun)).all()}

    async def prune(self) -> None:
        """Forget runs of long ago, and earlier those that never were."""
        age = func.clock_timestamp() - AgentRunRow.created_at
        old = (age > _KEPT) | ((AgentRunRow.state == "skipped") & (age > _SKIPPED_KEPT))
        ended: ColumnElement[bool] = AgentRunRow.state.not_in(OPEN)
        async with self._parts.db.session() as session:
            await session.execute(delete(AgentRunRow).where(old, ended))

    async def announce(self, session: AsyncSession, agent: AgentRow, run: AgentRunRow) -> None:
        """Tell on the agent's stream, in the same transaction, where a run is."""
        data = {"run": run.id, "agent": agent.name, "state": run.state, "session": run.session_id}
        stream = f"agent:{agent.id}"
        await self._parts.events.publish(stream, "agent.run", data, agent.owner_id, session=session)


async def _shown(
    session: AsyncSession, rows: Sequence[tuple[AgentRow, AgentRunRow]]
) -> Sequence[Run]:
    """Return runs as their owner sees them, with what they have cost."""
    sessions = [run.session_id for _, run in rows if run.session_id is not None]
    spent = (
        select(ToolCall.session_id, func.sum(ToolCall.cost))
        .where(ToolCall.session_id.in_(sessions), ToolCall.cost.is_not(None))
        .group_by(ToolCall.session_id)
    )
    costs = {row[0]: Decimal(row[1] or 0) for row in await session.execute(spent)}
    return [
        shown_run(agent.name, run).model_copy(
            update={"money": costs.get(run.session_id or "", Decimal(0))}
        )
        for agent, run in rows
    ]


async def _known(session: AsyncSession, agent: AgentRow) -> bool:
    """Say whether an agent's owner knows from its latest run that a limit is used up."""
    code = select(AgentRunRow.code).where(AgentRunRow.agent_id == agent.id)
    return await session.scalar(code.order_by(AgentRunRow.created_at.desc()).limit(1)) == LIMITS


async def _present(session: AsyncSession, agent: AgentRow) -> Present:
    now = await database_now(session)
    runs = select(func.count()).select_from(AgentRunRow).where(AgentRunRow.agent_id == agent.id)
    states = AgentRunRow.state
    today = (AgentRunRow.created_at > now - _DAY) & (states != "skipped")
    return Present(
        name=agent.name,
        enabled=agent.enabled,
        stopped_because=agent.stopped_because,
        overlap=agent.overlap,
        not_before=agent.not_before,
        running=int(await session.scalar(runs.where(states.in_(("running", "waiting")))) or 0),
        queued=int(await session.scalar(runs.where(states == "queued")) or 0),
        runs_today=int(await session.scalar(runs.where(today)) or 0),
        money_today=await _spent(session, agent, now),
        now=now,
    )


async def _start(session: AsyncSession, agent: AgentRow, run: AgentRunRow) -> Start:
    most = Limits.model_validate(agent.limits).money_per_day
    if most is None:
        return Start(agent, run, None)
    return Start(agent, run, most - await _spent(session, agent, await database_now(session)))


async def _spent(session: AsyncSession, agent: AgentRow, now: datetime) -> Decimal:
    """Return what the agent's calls of the last day have cost."""
    sessions = select(AgentRunRow.session_id).where(
        AgentRunRow.agent_id == agent.id, AgentRunRow.session_id.is_not(None)
    )
    spent = select(func.coalesce(func.sum(ToolCall.cost), 0)).where(
        ToolCall.session_id.in_(sessions), ToolCall.started_at > now - _DAY
    )
    return Decimal(await session.scalar(spent) or 0)
