"""What the picture of a workflow or of one run reads; its buttons are tool calls."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from nebula.auth.principal import Principal
from tools.workflows.runs import Runs
from tools.workflows.schemas import WorkflowDetail
from tools.workflows.service import Workflows
from tools.workflows.showing import detail
from ui.chat import door
from ui.chat.reading import answer

router = APIRouter(include_in_schema=False, prefix="/ui/workflows")


class Drawn(BaseModel):
    """A workflow or a run, and the number of its last event that is in it."""

    number: int
    may_change: bool
    detail: WorkflowDetail


@router.get("/{workflow}")
async def drawn(request: Request, workflow: str, run: str = "") -> JSONResponse:
    """Return a workflow with its picture, or one run of it."""

    async def read(me: Principal) -> BaseModel:
        parts = door.app().parts
        workflows, runs = Workflows(parts), Runs(parts)
        row = await workflows.get(me, workflow)
        # The number first: what happens in between is told twice rather than not at all.
        number = await parts.events.last(f"workflow:{row.id}")
        whole = await detail(workflows, runs, me, row.id, run)
        return Drawn(number=number, may_change=me.can("workflows:write"), detail=whole)

    return await answer(request, "workflows:read", read)
