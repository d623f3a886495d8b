"""What the end of a stretch of work means for a run, its workflow, and whoever follows it."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, update

from nebula.jobs.schedules.service import database_now
from nebula.tool.withdrawing import of_calls, withdraw
from nebula.yaml_file import BadFile
from tools.workflows.models import WorkflowRow, WorkflowRunRow, WorkflowStepRow
from tools.workflows.reading import read
from tools.workflows.record import LostHold
from tools.workflows.telling import changes_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from nebula.app import Parts

ALERTS = "alerts"


@dataclass(frozen=True)
class Ending:
    """How a stretch of work ended: for good, or because something is waited for."""

    state: str
    problem: str = ""
    output: dict[str, Any] = field(default_factory=dict)
    wake_at: datetime | None = None
    seconds: float = 0.0
    last: bool = False
    """Only what is done at the end was left."""


async def settle(parts: "Parts", run_id: str, holder: str, end: Ending) -> None:
    """Write down how a run stands, and let go of it.

    Raises:
        LostHold: when another process has taken it, or it has ended.
    """
    async with parts.db.session() as session:
        found = await session.get(WorkflowRunRow, run_id)
        if found is None:
            raise LostHold
        # The workflow's row first, as everywhere.
        workflow = await session.get(WorkflowRow, found.workflow_id, with_for_update=True)
        mine = select(WorkflowRunRow).where(
            WorkflowRunRow.id == run_id,
            WorkflowRunRow.held_by == holder,
            WorkflowRunRow.state == "running",
        )
        run = await session.scalar(mine.with_for_update())
        if run is None or workflow is None:
            raise LostHold
        if run.cancel_requested:
            end = _of_cancelled(run, end, await database_now(session))
        await ended(parts, session, workflow, run, end)
        if end.state in {"done", "failed"} and run.by_itself:
            await _count(parts, session, workflow, run, end)


def _of_cancelled(run: WorkflowRunRow, end: Ending, now: datetime) -> Ending:
    """Return the end of a stretch of a run that somebody has cancelled meanwhile."""
    if end.state == "waiting":
        # What it waited for is dropped, or its last steps wait until their time is over.
        until = (run.finish_by or now) if end.last else now
        wake = until if end.wake_at is None else min(until, end.wake_at)
        return replace(end, problem=run.problem, wake_at=wake)
    if end.state == "cancelled":
        return end
    said = f"{run.cancelled_by or 'Somebody'} cancelled it. {end.problem}".strip()
    return replace(end, state="cancelled", problem=said)


async def ended(
    parts: "Parts", session: "AsyncSession", workflow: WorkflowRow, run: WorkflowRunRow, end: Ending
) -> None:
    """Write the end of a run whose row is locked; steps that were under way end with it."""
    run.state, run.problem, run.output = end.state, end.problem, end.output
    run.seconds += end.seconds
    run.held_by, run.held_until, run.wake_at = "", None, end.wake_at
    if end.state != "waiting":
        asked = of_calls(run.owner_id, f"{run.id}:")
        why = "was cancelled" if end.state == "cancelled" else "has ended"
        await withdraw(session, parts.events, asked, f"The run {why}.")
        run.ended_at = func.clock_timestamp()
        open_steps = update(WorkflowStepRow).where(
            WorkflowStepRow.run_id == run.id, WorkflowStepRow.state.in_(("running", "waiting"))
        )
        await session.execute(open_steps.values(state="cancelled", ended_at=func.clock_timestamp()))
    await announce(parts, session, workflow, run)


async def announce(
    parts: "Parts", session: "AsyncSession", workflow: WorkflowRow, run: WorkflowRunRow
) -> None:
    """Tell where a run is, in the same transaction: whoever follows it, and its owner's pages."""
    data = {"run": run.id, "workflow": workflow.name, "state": run.state, "problem": run.problem}
    short = {"id": workflow.id, "run": run.id, "state": run.state}
    owner = workflow.owner_id
    told = [
        (f"workflow:{workflow.id}", "workflow.run", data, owner),
        (changes_of(owner), "workflow.run", short, owner),
    ]
    await parts.events.publish_all(told, session)


async def _count(
    parts: "Parts", session: "AsyncSession", workflow: WorkflowRow, run: WorkflowRunRow, end: Ending
) -> None:
    """Count failures in a row of what begins by itself, and switch it off at last."""
    if end.state == "done":
        workflow.failures = 0
        return
    workflow.failures += 1
    if workflow.failures < _most_failures(run.definition) or not workflow.enabled:
        return
    because = f"It failed {workflow.failures} times in a row, last: {end.problem}"
    workflow.enabled, workflow.stopped_because = False, because
    alert = {"source": "workflows", "workflow": workflow.name, "problem": because}
    await parts.events.publish(ALERTS, "alert.opened", alert, workflow.owner_id, session=session)


def _most_failures(definition: str) -> int:
    try:
        return read(definition)[0].failures
    except BadFile:
        return 1
