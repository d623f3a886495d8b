"""Runs: asked for once per cause, listed, cancelled, and begun again where they failed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.frozen import Frozen
from nebula.auth.grant import Grant
from nebula.auth.principal import Principal
from nebula.auth.tokens import new_id
from nebula.errors import Conflict, NebulaError, NotFound, PermissionDenied
from nebula.jobs.schedules.service import database_now
from nebula.policy.labels import Label
from nebula.secrets.redact import LIVE
from tools.workflows.cancelling import cancel, cancel_jobs
from tools.workflows.ending import announce
from tools.workflows.finding import ADMIN, found
from tools.workflows.inputs import given
from tools.workflows.models import WorkflowRow, WorkflowRunRow, WorkflowStepRow
from tools.workflows.reading import read
from tools.workflows.schemas import Run, RunState, StepRun
from tools.workflows.spec import FINALLY, Spec

if TYPE_CHECKING:
    from nebula.app import Parts

_DAY = timedelta(days=1)
_KEPT = timedelta(days=90)
_SKIPPED_KEPT = timedelta(days=7)
_MOST_QUEUED = 10
OPEN = ("queued", "running", "waiting")
_WORKING = ("running", "waiting")


@dataclass(frozen=True)
class Wanted:
    """A run that somebody or something asks for."""

    cause: str
    """The call, tick, event or delivery that asks: it gets one run, however often it is told."""
    started_by: str
    by_itself: bool = False
    inputs: Mapping[str, Any] = field(default_factory=dict)
    event: Mapping[str, Any] = field(default_factory=dict)
    labels: frozenset[Label] = field(default_factory=lambda: frozenset({Label.USER}))
    dry_run: bool = False
    limit: Grant | None = None
    """What whoever asks may do themselves: the run may do no more."""


class Runs:
    """The runs of all workflows."""

    def __init__(self, parts: "Parts") -> None:
        """Take the database and the events of a program."""
        self._parts = parts

    async def ask(self, workflow: str, principal: Principal, wanted: Wanted) -> Run:
        """Put a run in line, or return the one its cause has got already.

        What asks by itself and may not now is put on record as skipped.

        Raises:
            NotFound: when there is no such workflow.
            InvalidInput: when an input is missing or wrong.
            Conflict: when a person asks and it may not be now.
        """
        async with self._parts.db.session() as session:
            row = await found(session, principal, workflow, lock=True)
            return shown(row, await self.asked(session, row, wanted))

    async def asked(
        self, session: AsyncSession, workflow: WorkflowRow, wanted: Wanted
    ) -> WorkflowRunRow:
        """Put a run in line within a transaction that has locked the workflow's row."""
        known = select(WorkflowRunRow).where(
            WorkflowRunRow.workflow_id == workflow.id, WorkflowRunRow.cause == wanted.cause
        )
        before = await session.scalar(known)
        if before is not None:
            return before
        spec, _ = read(workflow.definition)
        why = await self._refusal(session, workflow, spec, wanted)
        inputs: dict[str, Any] = {}
        try:
            inputs = LIVE.value(given(spec.inputs, wanted.inputs))
        except NebulaError as error:
            if not wanted.by_itself:
                raise
            why = why or str(error)
        if why and not wanted.by_itself:
            raise Conflict(why, hint="See its runs with workflows_list_runs.")
        run = _made(workflow, wanted, inputs, why)
        session.add(run)
        await session.flush()
        await session.refresh(run)
        await announce(self._parts, session, workflow, run)
        return run

    async def steps(self, run_id: str) -> list[StepRun]:
        """Return what became of each step of a run, in the order in which they began."""
        rows = select(WorkflowStepRow).where(WorkflowStepRow.run_id == run_id)
        order = rows.order_by(WorkflowStepRow.started_at, WorkflowStepRow.path)
        async with self._parts.db.session() as session:
            return [_step(row) for row in await session.scalars(order)]

    async def definition(self, run_id: str) -> str:
        """Return the definition that a run began with."""
        kept = select(WorkflowRunRow.definition).where(WorkflowRunRow.id == run_id)
        async with self._parts.db.session() as session:
            return str(await session.scalar(kept))

    async def list(
        self,
        principal: Principal,
        workflow: str | None = None,
        state: RunState | None = None,
        limit: int = 20,
    ) -> list[Run]:
        """List runs, newest first: of one workflow, or of all that the principal may see."""
        query = select(WorkflowRow, WorkflowRunRow).join(
            WorkflowRunRow, WorkflowRunRow.workflow_id == WorkflowRow.id
        )
        async with self._parts.db.session() as session:
            if workflow is not None:
                row = await found(session, principal, workflow)
                query = query.where(WorkflowRow.id == row.id)
            elif not principal.can(ADMIN):
                query = query.where(WorkflowRow.owner_id == principal.id)
            if state is not None:
                query = query.where(WorkflowRunRow.state == state)
            newest = query.order_by(WorkflowRunRow.created_at.desc()).limit(limit)
            return [shown(*each) for each in (await session.execute(newest)).all()]

    async def latest(self, principal: Principal) -> dict[str, Run]:
        """Return the newest run of each workflow that somebody sees, by the workflow's id."""
        query = (
            select(WorkflowRow, WorkflowRunRow)
            .join(WorkflowRunRow, WorkflowRunRow.workflow_id == WorkflowRow.id)
            .where(WorkflowRunRow.state != "skipped")
            .ext(distinct_on(WorkflowRunRow.workflow_id))
            .order_by(WorkflowRunRow.workflow_id, WorkflowRunRow.created_at.desc())
        )
        if not principal.can(ADMIN):
            query = query.where(WorkflowRow.owner_id == principal.id)
        async with self._parts.db.session() as session:
            rows = (await session.execute(query)).all()
        return {row.id: shown(row, run) for row, run in rows}

    async def cancel(self, run_id: str, by: Principal) -> Run:
        """Cancel a run: its steps are stopped, then `finally` runs; a second time stops that too.

        What waits and has no `finally` ends at once.

        Raises:
            NotFound: when there is none of this id that the principal may see.
            Conflict: when it has ended.
        """
        async with self._parts.db.session() as session:
            workflow, run = await self._locked(session, run_id, by)
            if run.state not in OPEN:
                raise Conflict(f"This run has ended: it is {run.state}.")
            await cancel(self._parts, session, workflow, run, by.name)
            await session.flush()
            await session.refresh(run)
            told = shown(workflow, run)
        await cancel_jobs(self._parts, workflow, run_id)
        return told

    async def resume(self, run_id: str, by: Principal, *, again: bool = False) -> Run:
        """Begin a run again at the steps that failed; what was done stays done.

        Raises:
            NotFound: when there is none of this id that the principal may see.
            PermissionDenied: when it acts for somebody else.
            Conflict: when it has not failed, or nobody knows whether a step took effect and
                `again` does not say to make it again all the same.
        """
        async with self._parts.db.session() as session:
            workflow, run = await self._locked(session, run_id, by)
            if workflow.owner_id != by.id:
                raise PermissionDenied(f"It acts for {workflow.owner_name}, who alone resumes it.")
            if run.state not in {"failed", "cancelled"}:
                raise Conflict(
                    f"Only a run that failed or was cancelled goes on; it is {run.state}."
                )
            await _check_unknown(session, run_id, again=again)
            # What was left out may be due now, and pauses are over.
            redone = ("failed", "cancelled", "skipped", "unknown")
            # The last steps follow what is done now, so they are done again.
            last = WorkflowStepRow.path.startswith(FINALLY, autoescape=True)
            steps = update(WorkflowStepRow).where(
                WorkflowStepRow.run_id == run_id, WorkflowStepRow.state.in_(redone) | last
            )
            await session.execute(steps.values(superseded=True))
            run.state, run.problem, run.ended_at = "queued", "", None
            run.cancel_requested, run.cancelled_by, run.finish_by = False, "", None
            run.seconds = 0.0
            await session.flush()
            await session.refresh(run)
            await announce(self._parts, session, workflow, run)
            return shown(workflow, run)

    async def prune(self) -> None:
        """Forget runs of long ago, and earlier those that never were."""
        age = func.clock_timestamp() - WorkflowRunRow.created_at
        old = (age > _KEPT) | ((WorkflowRunRow.state == "skipped") & (age > _SKIPPED_KEPT))
        over: ColumnElement[bool] = WorkflowRunRow.state.not_in(OPEN)
        async with self._parts.db.session() as session:
            await session.execute(delete(WorkflowRunRow).where(old, over))

    async def _locked(
        self, session: AsyncSession, run_id: str, by: Principal
    ) -> tuple[WorkflowRow, WorkflowRunRow]:
        known = await session.get(WorkflowRunRow, run_id)
        workflow = None
        if known is not None and (known.owner_id == by.id or by.can(ADMIN)):
            # The workflow's row first, as everywhere.
            workflow = await session.get(WorkflowRow, known.workflow_id, with_for_update=True)
        if workflow is None or known is None:
            raise NotFound(f"There is no run {run_id!r}", hint="See workflows_list_runs.")
        await session.refresh(known, with_for_update=True)
        return workflow, known

    async def _refusal(
        self, session: AsyncSession, workflow: WorkflowRow, spec: Spec, wanted: Wanted
    ) -> str:
        """Say why no run may be now; empty when it may."""
        name = workflow.name
        if not workflow.enabled and (wanted.by_itself or not wanted.dry_run):
            return f"{name} is switched off: {workflow.stopped_because}"
        states, runs = WorkflowRunRow.state, select(func.count()).select_from(WorkflowRunRow)
        mine = runs.where(WorkflowRunRow.workflow_id == workflow.id)
        working = int(await session.scalar(mine.where(states.in_(_WORKING))) or 0)
        queued = int(await session.scalar(mine.where(states == "queued")) or 0)
        if spec.overlap == "skip" and working + queued > 0:
            return f"{name} is still at work on an earlier run."
        if queued >= _MOST_QUEUED:
            return f"{_MOST_QUEUED} runs of {name} wait already."
        today = WorkflowRunRow.created_at > await database_now(session) - _DAY
        if (
            int(await session.scalar(mine.where(today, states != "skipped")) or 0)
            >= spec.runs_per_day
        ):
            return f"{name} has had its {spec.runs_per_day} runs of 24 hours."
        return ""


def _made(
    workflow: WorkflowRow, wanted: Wanted, inputs: dict[str, Any], why: str
) -> WorkflowRunRow:
    """Return the row of a run that is asked for; `why` says why it may not be now."""
    rights = Frozen.model_validate(workflow.rights)
    if wanted.limit is not None:
        rights = rights.narrowed(wanted.limit)
    return WorkflowRunRow(
        id=new_id("wfr"),
        workflow_id=workflow.id,
        owner_id=workflow.owner_id,
        version=workflow.version,
        definition=workflow.definition,
        rights=rights.model_dump(mode="json"),
        cause=wanted.cause,
        started_by=wanted.started_by,
        by_itself=wanted.by_itself,
        dry_run=wanted.dry_run,
        state="skipped" if why else "queued",
        inputs=inputs,
        event=dict(wanted.event),
        labels=sorted(wanted.labels),
        problem=why,
        ended_at=func.clock_timestamp() if why else None,
    )


async def _check_unknown(session: AsyncSession, run_id: str, *, again: bool) -> None:
    unknown = select(WorkflowStepRow.path).where(
        WorkflowStepRow.run_id == run_id,
        WorkflowStepRow.state == "unknown",
        WorkflowStepRow.superseded.is_(False),
    )
    paths = list(await session.scalars(unknown))
    if paths and not again:
        raise Conflict(
            f"Nobody knows whether {', '.join(paths)} took effect.",
            hint="Look at the present state; again=true makes the call once more.",
        )


def shown(workflow: WorkflowRow, run: WorkflowRunRow) -> Run:
    """Return a row as its owner sees it."""
    kept = {name: getattr(run, name) for name in Run.model_fields if hasattr(run, name)}
    return Run.model_validate({**kept, "workflow": workflow.name})


def _step(row: WorkflowStepRow) -> StepRun:
    kept = {name: getattr(row, name) for name in StepRun.model_fields if hasattr(row, name)}
    problem = str((row.error or {}).get("detail", ""))
    return StepRun.model_validate({**kept, "attempt": row.try_, "problem": problem})
