"""Cancels a run: what it does is stopped, then its last steps have their time, and no more."""

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from nebula.auth.frozen import Frozen
from nebula.errors import Conflict, NotFound
from nebula.jobs.schedules.service import database_now
from nebula.tool.withdrawing import of_calls, withdraw
from nebula.yaml_file import BadFile
from tools.workflows.ending import Ending, announce, ended
from tools.workflows.models import WorkflowRow, WorkflowRunRow, WorkflowStepRow
from tools.workflows.reading import read
from tools.workflows.spec import FINALLY

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from nebula.app import Parts

LAST_SECONDS = 300.0
"""How long `finally` may take: beyond a run's minutes, and after a cancel with all its waiting."""


async def cancel(
    parts: "Parts", session: "AsyncSession", workflow: WorkflowRow, run: WorkflowRunRow, by: str
) -> None:
    """Cancel a run whose row is locked; a second time, its last steps are stopped too."""
    now = await database_now(session)
    begun = run.state != "queued" and run.finish_by is None and _has_last(run)
    run.cancel_requested, run.cancelled_by = True, by
    run.finish_by = now + timedelta(seconds=LAST_SECONDS) if begun else now
    if run.state != "running" and not begun:
        await ended(parts, session, workflow, run, Ending("cancelled", said(run)))
        return
    asked = of_calls(run.owner_id, f"{run.id}:", but=f"{run.id}:{FINALLY}" if begun else "")
    await withdraw(session, parts.events, asked, "The run was cancelled.")
    if run.state == "waiting":
        open_steps = update(WorkflowStepRow).where(
            WorkflowStepRow.run_id == run.id,
            WorkflowStepRow.state == "waiting",
            ~WorkflowStepRow.path.startswith(FINALLY, autoescape=True),
        )
        await session.execute(open_steps.values(state="cancelled", ended_at=now))
        run.wake_at = now
    last = "Its last steps run, for 5 minutes at most." if begun else "It ends."
    run.problem = f"{said(run)} {last}"
    await session.flush()
    await announce(parts, session, workflow, run)


def said(run: WorkflowRunRow) -> str:
    """Return why a cancelled run has ended."""
    return f"{run.cancelled_by or 'Somebody'} cancelled it."


async def cancel_jobs(parts: "Parts", workflow: WorkflowRow, run_id: str) -> None:
    """Cancel the jobs that a run's cancelled steps have begun."""
    jobs = select(WorkflowStepRow.job_id).where(
        WorkflowStepRow.run_id == run_id,
        WorkflowStepRow.state == "cancelled",
        WorkflowStepRow.job_id.is_not(None),
    )
    async with parts.db.session() as session:
        ids = [str(each) for each in await session.scalars(jobs)]
    owner = Frozen.model_validate(workflow.rights).principal(workflow.owner_id, workflow.owner_name)
    for job_id in ids:
        try:
            await parts.jobs.cancel(job_id, owner)
        except (Conflict, NotFound):
            continue


def _has_last(run: WorkflowRunRow) -> bool:
    try:
        return bool(read(run.definition)[0].finally_)
    except BadFile:  # an older version wrote it
        return False
