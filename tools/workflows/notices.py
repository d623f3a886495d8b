"""Workflows that were switched off by their failures, for their owners."""

from sqlalchemy import select

from nebula.db.engine import Database
from nebula.notice import Notice
from tools.workflows.models import WorkflowRow


def notice_of(workflow: WorkflowRow) -> Notice | None:
    """Return what is the matter with a workflow; None when nothing is, or a person paused it."""
    if workflow.enabled or not workflow.failures:
        return None
    return Notice(
        kind="workflow",
        id=workflow.id,
        name=workflow.name,
        said=workflow.stopped_because,
        step=f"Say: resume workflow {workflow.name}",
        tool="workflows_update",
        arguments={"workflow": workflow.id, "action": "resume"},
    )


async def standing_still(db: Database, owner_id: str) -> list[Notice]:
    """Return what is the matter with workflows of an owner."""
    off = select(WorkflowRow).where(
        WorkflowRow.owner_id == owner_id,
        WorkflowRow.enabled.is_(False),
        WorkflowRow.failures > 0,
    )
    async with db.session() as session:
        rows = list(await session.scalars(off.order_by(WorkflowRow.name)))
    return [notice for notice in map(notice_of, rows) if notice is not None]
