"""Finds a workflow by what people call it."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.principal import Principal
from nebula.errors import NotFound
from nebula.near import near
from tools.workflows.models import WorkflowRow

ADMIN = "workflows:admin"


async def found(
    session: AsyncSession, principal: Principal, workflow: str, *, lock: bool = False
) -> WorkflowRow:
    """Return a workflow by its id or name, one's own first.

    Raises:
        NotFound: when there is none that the principal may see, with the nearest names.
    """
    query = select(WorkflowRow).where(
        (WorkflowRow.id == workflow) | (WorkflowRow.name == slug(workflow))
    )
    mine = WorkflowRow.owner_id == principal.id
    if not principal.can(ADMIN):
        query = query.where(mine)
    query = query.order_by(mine.desc(), WorkflowRow.created_at).limit(1)
    row = await session.scalar(query.with_for_update() if lock else query)
    if row is None:
        names = list(await session.scalars(select(WorkflowRow.name).where(mine)))
        hint = near(workflow, names) or "Make one first, with workflows_create."
        raise NotFound(f"There is no workflow {workflow!r}", hint=hint)
    return row


def slug(name: str) -> str:
    """Return a name as workflows have it: "Nightly check" is nightly-check."""
    return "-".join(name.casefold().replace("_", " ").replace("-", " ").split())
