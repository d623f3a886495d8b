"""Tells an owner's pages that something about their workflows is another now."""

from typing import TYPE_CHECKING

from tools.workflows.models import WorkflowRow

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from nebula.app import Parts


async def announce_change(parts: "Parts", session: "AsyncSession", workflow: WorkflowRow) -> None:
    """Tell that a workflow was made, changed, switched or deleted."""
    data = {"id": workflow.id, "workflow": workflow.name}
    stream = changes_of(workflow.owner_id)
    await parts.events.publish(stream, "workflow.changed", data, workflow.owner_id, session=session)


def changes_of(owner_id: str) -> str:
    """Return the stream that tells which workflows of an owner changed, and how their runs stand."""
    return f"workflows:{owner_id}"
