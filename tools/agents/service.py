"""Agents as their owner makes, changes and ends them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from nebula import owned
from nebula.auth.principal import Caller, Principal
from nebula.auth.tokens import new_id
from nebula.errors import Conflict, InvalidInput, NebulaError, NotFound
from nebula.events.triggers import Trigger, source_of
from nebula.jobs.schedules.asked import Timing
from nebula.jobs.schedules.schedule import Missed, Schedule
from nebula.jobs.schedules.service import Options
from nebula.jobs.schedules.timing import cron_of
from nebula.owned import check_owner, check_person
from nebula.secrets.redact import hide
from tools.agents import rights
from tools.agents.models import AgentRow, AgentRunRow
from tools.agents.schemas import Agent
from tools.agents.showing import shown_agents
from tools.agents.spec import Spec, at_field, with_reader

if TYPE_CHECKING:
    from nebula.app import Parts

ADMIN = "agents:admin"


class Agents:
    """The agents of this installation; people see their own, and all with `agents:admin`."""

    def __init__(self, parts: "Parts") -> None:
        """Take the parts that agents rest on."""
        self._parts = parts

    async def create(self, caller: Caller, spec: Spec) -> Agent:
        """Make an agent with the rights its owner has now, and no later ones.

        Raises:
            InvalidInput: when something named does not exist.
            PermissionDenied: when its owner may not use what it shall use.
            Conflict: when they have an agent of this name.
        """
        check_person(caller, "Agents")
        owner = caller.principal
        kept = rights.checked(self._parts, owner, spec.features, spec.tools)
        cron = None if spec.cron is None else cron_of(spec.cron, spec.timezone)
        heard = await self._heard(spec.trigger)
        row = AgentRow(
            id=new_id("agt"),
            owner_id=owner.id,
            owner_name=owner.name,
            rights=kept.model_dump(mode="json"),
            labels=sorted(caller.labels),
            heard=heard,
            **_columns(spec),
        )
        async with self._parts.db.session() as session:
            await _check_name(session, owner, spec.name)
        if cron is not None:
            row.schedule_id = (await self._scheduled(owner, row, cron, Missed.ONCE)).id
        try:
            async with self._parts.db.session() as session:
                session.add(row)
                await session.flush()
                await session.refresh(row)
                await self._announce(session, row)
        except NebulaError:
            if row.schedule_id is not None:
                await _unscheduled(self._parts, row.schedule_id, owner)
            raise
        return await self._shown(row)

    async def list(self, principal: Principal) -> list[Agent]:
        """List one's own agents by name, or everybody's."""
        query = select(AgentRow).order_by(AgentRow.name)
        if not principal.can(ADMIN):
            query = query.where(AgentRow.owner_id == principal.id)
        async with self._parts.db.session() as session:
            rows = list(await session.scalars(query))
        return await shown_agents(self._parts, rows)

    async def ids(self, principal: Principal, most: int) -> Sequence[str]:
        """Return the ids of the agents that somebody sees, the newest of them first."""
        query = select(AgentRow.id).order_by(AgentRow.created_at.desc()).limit(most)
        if not principal.can(ADMIN):
            query = query.where(AgentRow.owner_id == principal.id)
        async with self._parts.db.session() as session:
            return list(await session.scalars(query))

    async def get(self, principal: Principal, agent: str) -> Agent:
        """Return an agent by its name or id; raises NotFound."""
        async with self._parts.db.session() as session:
            row = await found(session, principal, agent)
        return await self._shown(row)

    async def update(self, caller: Caller, agent: str, changes: Mapping[str, Any]) -> Agent:
        """Change what is given; a change of what it may use freezes its rights anew.

        Raises:
            NotFound: when there is none of this name.
            PermissionDenied: when it is somebody else's.
        """
        check_person(caller, "Agents")
        parts, owner = self._parts, caller.principal
        async with parts.db.session() as session:
            row = await found(session, owner, agent, lock=True)
            check_owner(row, owner)
            spec = changed(_spec_of(row), changes)
            if "trigger" in changes:
                row.heard = await self._heard(spec.trigger)
            if {"features", "tools"} & set(changes) or spec.tools != row.tools:
                kept = rights.checked(parts, owner, spec.features, spec.tools)
                row.rights = kept.model_dump(mode="json")
            if "purpose" in changes:
                row.labels = sorted(caller.labels)
            if spec.name != row.name:
                await _check_name(session, owner, spec.name)
            for name, value in _columns(spec).items():
                setattr(row, name, value)
            row.changed_at = func.clock_timestamp()
            await session.flush()
            await session.refresh(row)
            await self._announce(session, row)
        return await self._shown(row)

    async def switch(self, caller: Caller, agent: str, *, on: bool, why: str = "") -> Agent:
        """Switch an agent on or off; off, its schedule rests and what waits in line is dropped."""
        check_person(caller, "Agents")
        async with self._parts.db.session() as session:
            row = await found(session, caller.principal, agent, lock=True)
            row.enabled = on
            row.stopped_because = "" if on else why or f"{caller.principal.name} paused it."
            row.failures, row.not_before = 0, None
            row.changed_at = func.clock_timestamp()
            if on:
                row.heard = await self._heard(_trigger_of(row))
            else:
                await _drop_queued(session, row)
            await session.flush()
            await session.refresh(row)
        if row.schedule_id is not None:
            schedules = self._parts.schedules
            if on:
                await schedules.resume(row.schedule_id, caller.principal)
            else:
                owner = _owning(row, caller.principal)
                await schedules.pause(row.schedule_id, owner, row.stopped_because)
        async with self._parts.db.session() as session:
            await self._announce(session, row)
        return await self._shown(row)

    async def schedule(
        self, caller: Caller, agent: str, timing: Timing | None, missed: Missed
    ) -> Agent:
        """Let an agent run at certain times, or at none any more."""
        check_person(caller, "Agents")
        parts, owner = self._parts, caller.principal
        async with parts.db.session() as session:
            row = await found(session, owner, agent)
            check_owner(row, owner)
        before = row.schedule_id
        made = None if timing is None else await self._scheduled(owner, row, timing, missed)
        async with parts.db.session() as session:
            row = await found(session, owner, row.id, lock=True)
            row.schedule_id = None if made is None else made.id
        if before is not None:
            await _unscheduled(parts, before, owner)
        if made is not None and not row.enabled:
            await parts.schedules.pause(made.id, owner, row.stopped_because)
        async with parts.db.session() as session:
            await self._announce(session, row)
        return await self._shown(row)

    async def delete(self, caller: Caller, agent: str) -> tuple[str, int]:
        """Delete an agent with the record of its runs; return its name and how many those were."""
        check_person(caller, "Agents")
        async with self._parts.db.session() as session:
            row = await found(session, caller.principal, agent, lock=True)
            runs = await session.scalar(
                select(func.count()).select_from(AgentRunRow).where(AgentRunRow.agent_id == row.id)
            )
            await session.delete(row)
            await self._announce(session, row)
        if row.schedule_id is not None:
            await _unscheduled(self._parts, row.schedule_id, _owning(row, caller.principal))
        return row.name, int(runs or 0)

    async def _scheduled(
        self, owner: Principal, row: AgentRow, timing: Timing, missed: Missed
    ) -> Schedule:
        return await self._parts.schedules.create(
            owner,
            f"Agent {row.name}",
            tool="agents_run",
            arguments={"agent": row.id},
            timing=timing,
            options=Options(missed=missed),
        )

    async def _heard(self, trigger: Trigger | None) -> int:
        """Return where a trigger begins to listen: at what happens from now on."""
        return 0 if trigger is None else await self._parts.events.last(source_of(trigger).stream)

    async def _shown(self, row: AgentRow) -> Agent:
        return (await shown_agents(self._parts, [row]))[0]

    async def _announce(self, session: AsyncSession, row: AgentRow) -> None:
        """Tell on the owner's pages that an agent is another now, or is gone."""
        data = {"id": row.id, "agent": row.name}
        stream = changes_of(row.owner_id)
        await self._parts.events.publish(
            stream, "agent.changed", data, row.owner_id, session=session
        )


def changes_of(owner_id: str) -> str:
    """Return the stream that tells which agents of an owner were made, changed or deleted."""
    return f"agents:{owner_id}"


async def found(
    session: AsyncSession, principal: Principal, agent: str, *, lock: bool = False
) -> AgentRow:
    """Return an agent by its id or name, one's own first; raises NotFound."""
    return await owned.found(session, AgentRow, principal, agent, kind="agent", lock=lock)


def spec_of(values: Mapping[str, Any]) -> Spec:
    """Return a valid description of an agent.

    Raises:
        InvalidInput: with every field at fault.
    """
    try:
        spec = Spec.model_validate({**values, "purpose": hide(str(values.get("purpose", "")))})
    except ValidationError as error:
        fields = [
            {"field": ".".join(map(str, each["loc"])), "problem": each["msg"]}
            for each in error.errors()
        ]
        said = "; ".join(f"{each['field']}: {each['problem']}" for each in fields)
        raise InvalidInput(f"This is no agent: {said}", fields=fields) from error
    if spec.trigger is not None:
        try:
            source_of(spec.trigger)
        except InvalidInput as error:
            raise at_field("trigger", str(error), error.hint) from error
    return with_reader(spec)


def changed(spec: Spec, changes: Mapping[str, Any]) -> Spec:
    """Return a description with some fields changed; of limits, those that are given."""
    values = spec.model_dump(mode="json")
    limits = {**values["limits"], **changes.get("limits", {})}
    return spec_of({**values, **changes, "limits": limits})


def _columns(spec: Spec) -> dict[str, Any]:
    return spec.model_dump(mode="json", exclude={"cron", "timezone"})


def _spec_of(row: AgentRow) -> Spec:
    kept = {name: getattr(row, name) for name in Spec.model_fields if hasattr(row, name)}
    return Spec.model_validate(kept)


def _trigger_of(row: AgentRow) -> Trigger | None:
    return None if row.trigger is None else Trigger.model_validate(row.trigger)


def _owning(row: AgentRow, principal: Principal) -> Principal:
    """Return who an agent's schedule belongs to: its owner, as the principal where it is theirs."""
    return principal if row.owner_id == principal.id else rights.acting(row)


async def _check_name(session: AsyncSession, owner: Principal, name: str) -> None:
    query = select(AgentRow.id).where(AgentRow.owner_id == owner.id, AgentRow.name == name)
    if await session.scalar(query) is not None:
        raise Conflict(f"You have an agent {name!r} already", hint="Choose another name.")


async def _drop_queued(session: AsyncSession, row: AgentRow) -> None:
    queued = select(AgentRunRow).where(
        AgentRunRow.agent_id == row.id, AgentRunRow.state == "queued"
    )
    for run in await session.scalars(queued):
        run.state, run.problem, run.ended_at = "cancelled", row.stopped_because, func.now()


async def _unscheduled(parts: "Parts", schedule_id: str, owner: Principal) -> None:
    try:
        await parts.schedules.delete(schedule_id, owner)
    except NotFound:
        return
