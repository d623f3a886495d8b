"""Workflows as their owner makes, changes and ends them."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.frozen import Frozen
from nebula.auth.principal import Caller, Principal
from nebula.auth.tokens import new_id
from nebula.errors import Conflict, InvalidInput, NebulaError, NotFound
from nebula.events.triggers import Trigger, source_of
from nebula.jobs.schedules.asked import Timing
from nebula.jobs.schedules.schedule import Missed, Schedule
from nebula.jobs.schedules.service import Options
from nebula.jobs.schedules.timing import cron_of
from nebula.jobs.schedules.words import in_words
from nebula.owned import check_owner, check_person
from nebula.secrets.redact import hide
from nebula.yaml_file import BadFile, Document
from tools.workflows import rights
from tools.workflows.checking import check
from tools.workflows.finding import ADMIN, found
from tools.workflows.models import WorkflowRow, WorkflowRunRow
from tools.workflows.notices import notice_of
from tools.workflows.reading import read, refused
from tools.workflows.schemas import Takes, Workflow
from tools.workflows.spec import Spec
from tools.workflows.telling import announce_change

if TYPE_CHECKING:
    from nebula.app import Parts


class Workflows:
    """The workflows of this installation; people see their own, and all with `workflows:admin`."""

    def __init__(self, parts: "Parts") -> None:
        """Take the parts that workflows rest on."""
        self._parts = parts

    def checked(self, owner: Principal, text: str) -> Spec:
        """Return what a definition says.

        Raises:
            InvalidInput: with every mistake and its line; nothing was saved.
        """
        spec, document = self._read(text)
        problems = check(
            spec,
            document,
            self._parts.registry,
            lambda tool: rights.why_not(self._parts, owner, tool),
        )
        if problems:
            raise refused(problems)
        return spec

    def _read(self, text: str) -> tuple[Spec, Document]:
        try:
            spec, document = read(text)
        except BadFile as error:
            raise refused(error.problems) from error
        problems = [document.problem((key,), said) for key, said in _starts_badly(spec)]
        if problems:
            raise refused(problems)
        return spec, document

    async def create(self, caller: Caller, text: str) -> tuple[Workflow, Spec]:
        """Save a workflow with the rights its owner has now, and no later ones.

        Raises:
            InvalidInput: with every mistake and its line.
            Conflict: when they have a workflow of this name.
        """
        check_person(caller, "Workflows")
        owner, text = caller.principal, hide(text)
        spec = self.checked(owner, text)
        row = WorkflowRow(
            id=new_id("wfl"),
            name=spec.name,
            owner_id=owner.id,
            owner_name=owner.name,
            definition=text,
            rights=rights.frozen_for(self._parts, owner, spec).model_dump(mode="json"),
            labels=sorted(caller.labels),
            trigger=_trigger(spec),
            heard=await self._heard(spec.trigger),
        )
        async with self._parts.db.session() as session:
            await _check_name(session, owner, spec.name)
        if spec.cron is not None:
            cron = cron_of(spec.cron, spec.timezone)
            row.schedule_id = (await self._scheduled(owner, row, cron, Missed.ONCE)).id
        try:
            async with self._parts.db.session() as session:
                session.add(row)
                await session.flush()
                await session.refresh(row)
                await announce_change(self._parts, session, row)
        except NebulaError:
            await self._unscheduled(row.schedule_id, owner)
            raise
        return await self.shown(row), spec

    async def get(self, principal: Principal, workflow: str) -> WorkflowRow:
        """Return a workflow's row; raises NotFound."""
        async with self._parts.db.session() as session:
            return await found(session, principal, workflow)

    async def list(self, principal: Principal) -> list[Workflow]:
        """List one's own workflows by name, or everybody's."""
        query = select(WorkflowRow).order_by(WorkflowRow.name)
        if not principal.can(ADMIN):
            query = query.where(WorkflowRow.owner_id == principal.id)
        async with self._parts.db.session() as session:
            rows = list(await session.scalars(query))
            last = await _last_states(session, [row.id for row in rows])
        return [await self.shown(row, last.get(row.id, "")) for row in rows]

    async def update(self, caller: Caller, workflow: str, text: str) -> tuple[Workflow, Spec]:
        """Save a new version; runs that go on keep the old one. Its rights are frozen anew.

        Raises:
            NotFound: when there is none of this name.
            PermissionDenied: when it is somebody else's.
        """
        check_person(caller, "Workflows")
        owner, text = caller.principal, hide(text)
        spec = self.checked(owner, text)
        async with self._parts.db.session() as session:
            row = await found(session, owner, workflow, lock=True)
            check_owner(row, owner)
            before, _ = read(row.definition)
            if spec.name != row.name:
                await _check_name(session, owner, spec.name)
            if _trigger(spec) != row.trigger:
                row.heard = await self._heard(spec.trigger)
            row.name, row.definition, row.trigger = spec.name, text, _trigger(spec)
            row.rights = rights.frozen_for(self._parts, owner, spec).model_dump(mode="json")
            row.labels = sorted(caller.labels)
            row.version += 1
            row.changed_at = func.clock_timestamp()
            await session.flush()
            await session.refresh(row)
            await announce_change(self._parts, session, row)
        if (spec.cron, spec.timezone) != (before.cron, before.timezone):
            timing = None if spec.cron is None else cron_of(spec.cron, spec.timezone)
            row = await self._timed(owner, row, timing, Missed.ONCE)
        return await self.shown(row), spec

    async def switch(self, caller: Caller, workflow: str, *, on: bool) -> Workflow:
        """Switch a workflow on or off; off, its schedule rests and what waits in line is dropped."""
        check_person(caller, "Workflows")
        by = caller.principal
        async with self._parts.db.session() as session:
            row = await found(session, by, workflow, lock=True)
            row.enabled, row.failures = on, 0
            row.stopped_because = "" if on else f"{by.name} paused it."
            if on:
                row.heard = await self._heard(_trigger_of(row))
            else:
                await _drop_queued(session, row)
            await session.flush()
            await session.refresh(row)
        if row.schedule_id is not None:
            schedules, owner = self._parts.schedules, _owning(row, by)
            if on:
                await schedules.resume(row.schedule_id, by)
            else:
                await schedules.pause(row.schedule_id, owner, row.stopped_because)
        async with self._parts.db.session() as session:
            await announce_change(self._parts, session, row)
        return await self.shown(row)

    async def schedule(
        self, caller: Caller, workflow: str, timing: Timing | None, missed: Missed
    ) -> tuple[Workflow, Spec]:
        """Let a workflow run at certain times, or at none any more."""
        check_person(caller, "Workflows")
        owner = caller.principal
        async with self._parts.db.session() as session:
            row = await found(session, owner, workflow)
            check_owner(row, owner)
        row = await self._timed(owner, row, timing, missed)
        return await self.shown(row), read(row.definition)[0]

    async def delete(self, caller: Caller, workflow: str) -> tuple[str, int]:
        """Delete a workflow with the record of its runs; return its name and how many those were.

        Raises:
            Conflict: while a run of it goes on.
        """
        check_person(caller, "Workflows")
        async with self._parts.db.session() as session:
            row = await found(session, caller.principal, workflow, lock=True)
            runs = select(WorkflowRunRow.state).where(WorkflowRunRow.workflow_id == row.id)
            states = list(await session.scalars(runs))
            if {"running", "waiting"} & set(states):
                hint = "Cancel it first, with workflows_cancel."
                raise Conflict(f"A run of {row.name} goes on.", hint=hint)
            await session.delete(row)
            await announce_change(self._parts, session, row)
        await self._unscheduled(row.schedule_id, _owning(row, caller.principal))
        return row.name, len(states)

    async def shown(self, row: WorkflowRow, last_run: str = "") -> Workflow:
        """Return a row as its owner sees it."""
        spec, _ = read(row.definition)
        schedule = await self._schedule_of(row)
        kept = {name: getattr(row, name) for name in Workflow.model_fields if hasattr(row, name)}
        ticks = row.enabled and schedule is not None and schedule.enabled
        return Workflow(
            **{
                **kept,
                "rights": list(Frozen.model_validate(row.rights).allowed),
                "description": spec.description,
                "steps": sum(1 for _ in spec.every_step()),
                "inputs": {name: each.type for name, each in spec.inputs.items()},
                "takes": [
                    Takes(name=name, **each.model_dump()) for name, each in spec.inputs.items()
                ],
                "when": when_of(_trigger_of(row), schedule),
                "next_run_at": schedule.next_fire_at if schedule is not None and ticks else None,
                "last_run": last_run,
                "notice": notice_of(row),
            }
        )

    async def _schedule_of(self, row: WorkflowRow) -> Schedule | None:
        if row.schedule_id is None:
            return None
        try:
            return await self._parts.schedules.get(row.schedule_id, _acting(row))
        except NotFound:
            return None

    async def _timed(
        self, owner: Principal, row: WorkflowRow, timing: Timing | None, missed: Missed
    ) -> WorkflowRow:
        before = row.schedule_id
        made = None if timing is None else await self._scheduled(owner, row, timing, missed)
        async with self._parts.db.session() as session:
            row = await found(session, owner, row.id, lock=True)
            row.schedule_id = None if made is None else made.id
            await session.flush()
            await session.refresh(row)
        await self._unscheduled(before, owner)
        if made is not None and not row.enabled:
            await self._parts.schedules.pause(made.id, owner, row.stopped_because)
        async with self._parts.db.session() as session:
            await announce_change(self._parts, session, row)
        return row

    async def _scheduled(
        self, owner: Principal, row: WorkflowRow, timing: Timing, missed: Missed
    ) -> Schedule:
        return await self._parts.schedules.create(
            owner,
            f"Workflow {row.name}",
            tool="workflows_run",
            arguments={"workflow": row.id},
            timing=timing,
            options=Options(missed=missed),
        )

    async def _unscheduled(self, schedule_id: str | None, owner: Principal) -> None:
        if schedule_id is None:
            return
        try:
            await self._parts.schedules.delete(schedule_id, owner)
        except NotFound:
            return

    async def _heard(self, trigger: Trigger | None) -> int:
        """Return where a trigger begins to listen: at what happens from now on."""
        return 0 if trigger is None else await self._parts.events.last(source_of(trigger).stream)


def when_of(trigger: Trigger | None, schedule: Schedule | None) -> str:
    """Say in words when something runs."""
    said = [] if schedule is None else [in_words(schedule.timing)]
    if trigger is not None:
        where = ", ".join(f"{name} is {value}" for name, value in trigger.where.items())
        said.append(f"on {trigger.event}" + (f" where {where}" if where else ""))
    return "; ".join(said) or "when it is started"


def _starts_badly(spec: Spec) -> Iterator[tuple[str, str]]:
    """Yield the key and what is wrong with it, of a time or an event that there is not."""
    try:
        if spec.cron is not None:
            cron_of(spec.cron, spec.timezone)
        if spec.trigger is not None:
            source_of(spec.trigger)
    except InvalidInput as error:
        named = error.fields[0]["field"] if error.fields else ""
        key = named if named in {"cron", "timezone"} else "trigger"
        yield key, f"{error}. {error.hint}" if error.hint else str(error)


def _trigger(spec: Spec) -> dict[str, object] | None:
    return None if spec.trigger is None else spec.trigger.model_dump(mode="json")


def _trigger_of(row: WorkflowRow) -> Trigger | None:
    return None if row.trigger is None else Trigger.model_validate(row.trigger)


def _acting(row: WorkflowRow) -> Principal:
    return Frozen.model_validate(row.rights).principal(row.owner_id, row.owner_name)


def _owning(row: WorkflowRow, principal: Principal) -> Principal:
    """Return who a workflow's schedule belongs to: its owner, as the principal where it is theirs."""
    return principal if row.owner_id == principal.id else _acting(row)


async def _check_name(session: AsyncSession, owner: Principal, name: str) -> None:
    query = select(WorkflowRow.id).where(WorkflowRow.owner_id == owner.id, WorkflowRow.name == name)
    if await session.scalar(query) is not None:
        hint = "Choose another name, or change it with workflows_update."
        raise Conflict(f"You have a workflow {name!r} already", hint=hint)


async def _drop_queued(session: AsyncSession, row: WorkflowRow) -> None:
    queued = select(WorkflowRunRow).where(
        WorkflowRunRow.workflow_id == row.id, WorkflowRunRow.state == "queued"
    )
    for run in await session.scalars(queued):
        run.state, run.problem, run.ended_at = "cancelled", row.stopped_because, func.now()


async def _last_states(session: AsyncSession, workflows: Sequence[str]) -> dict[str, str]:
    latest = (
        select(WorkflowRunRow.workflow_id, WorkflowRunRow.state)
        .where(WorkflowRunRow.workflow_id.in_(workflows))
        .ext(distinct_on(WorkflowRunRow.workflow_id))
        .order_by(WorkflowRunRow.workflow_id, WorkflowRunRow.created_at.desc())
    )
    return {row[0]: row[1] for row in (await session.execute(latest)).all()}
