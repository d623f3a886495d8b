"""Finds a workflow by what people call it."""

from sqlalchemy.ext.asyncio import AsyncSession

from nebula import owned
from nebula.auth.principal import Principal
from tools.workflows.models import WorkflowRow

ADMIN = "workflows:admin"


async def found(
    session: AsyncSession, principal: Principal, workflow: str, *, lock: bool = False
) -> WorkflowRow:
    """Return a workflow by its id or name, one's own first; raises NotFound."""
    return await owned.found(session, WorkflowRow, principal, workflow, kind="workflow", lock=lock)
