"""What the workflows' parts of the page read: the list, pictures, runs, and what an editor needs.

Only reading happens here; every button is a tool call (`ui.chat.calls`).
"""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from nebula.auth.principal import Principal
from nebula.errors import InvalidInput
from nebula.tool.diagram import Diagram
from tools.workflows.diagram import draw
from tools.workflows.reading import LONGEST, read
from tools.workflows.ready import blank, ready_ones, ready_workflows
from tools.workflows.runs import Runs
from tools.workflows.schemas import ReadyWorkflow, Run, Workflow, WorkflowDetail
from tools.workflows.service import Workflows
from tools.workflows.showing import detail
from tools.workflows.spec import Input
from ui.chat import door
from ui.chat.reading import answer

router = APIRouter(include_in_schema=False, prefix="/ui/workflows")

MOST_RUNS = 100


class Line(BaseModel):
    """A workflow as the list shows it."""

    workflow: Workflow
    mine: bool
    last: Run | None


class Listed(BaseModel):
    """What the list of workflows shows."""

    may_change: bool
    workflows: list[Line]
    ready: list[ReadyWorkflow]


class Drawn(BaseModel):
    """A workflow or a run, and the number of its last event that is in it."""

    number: int
    may_change: bool
    mine: bool
    inputs: dict[str, Input]
    """What the next run is given."""
    detail: WorkflowDetail


class RunsRead(BaseModel):
    """Runs as their list shows them."""

    runs: list[Run]


class Starts(BaseModel):
    """Texts that a new workflow can begin with."""

    blank: str
    ready: dict[str, str]
    most: int
    """Characters of a definition, at most."""


class Draft(BaseModel):
    """What somebody has written so far."""

    definition: Annotated[str, Field(max_length=LONGEST)]


class Mistake(BaseModel):
    """What is wrong on a line; they count from 1."""

    line: int
    problem: str


class Checked(BaseModel):
    """What was found in a draft: mistakes, or its picture."""

    problems: list[Mistake]
    diagram: Diagram | None = None


@router.get("")
async def listed(request: Request) -> JSONResponse:
    """Return the workflows of the person signed in, and the ready-made ones."""

    async def look(me: Principal) -> BaseModel:
        parts = door.app().parts
        found, last = await Workflows(parts).list(me), await Runs(parts).latest(me)
        return Listed(
            may_change=me.can("workflows:write"),
            workflows=[
                Line(workflow=each, mine=each.owner_id == me.id, last=last.get(each.id))
                for each in found
            ],
            ready=ready_ones(found),
        )

    return await answer(request, "workflows:read", look)


@router.get("/starts")
async def starts(request: Request) -> JSONResponse:
    """Return what a new workflow can begin with."""

    async def look(_me: Principal) -> BaseModel:
        ready = {name: text for name, (text, _) in ready_workflows().items()}
        return Starts(blank=blank(), ready=ready, most=LONGEST)

    return await answer(request, "workflows:read", look)


@router.post("/check")
async def checked(request: Request, draft: Draft) -> JSONResponse:
    """Return what is wrong with a draft, or its picture; nothing is saved."""

    async def look(me: Principal) -> BaseModel:
        return await asyncio.to_thread(_checked, me, draft.definition)

    return await answer(request, "workflows:read", look)


@router.get("/{workflow}")
async def drawn(request: Request, workflow: str, run: str = "") -> JSONResponse:
    """Return a workflow with its picture, or one run of it."""

    async def look(me: Principal) -> BaseModel:
        parts = door.app().parts
        workflows, runs = Workflows(parts), Runs(parts)
        row = await workflows.get(me, workflow)
        # The number first: what happens in between is told twice rather than not at all.
        number = await parts.events.last(f"workflow:{row.id}")
        whole = await detail(workflows, runs, me, row.id, run)
        return Drawn(
            number=number,
            may_change=me.can("workflows:write"),
            mine=row.owner_id == me.id,
            inputs=read(row.definition)[0].inputs,
            detail=whole,
        )

    return await answer(request, "workflows:read", look)


@router.get("/{workflow}/runs")
async def runs(request: Request, workflow: str) -> JSONResponse:
    """Return the runs of a workflow, newest first."""

    async def look(me: Principal) -> BaseModel:
        return RunsRead(runs=await Runs(door.app().parts).list(me, workflow, limit=MOST_RUNS))

    return await answer(request, "workflows:read", look)


def _checked(me: Principal, definition: str) -> Checked:
    try:
        spec = Workflows(door.app().parts).checked(me, definition)
    except InvalidInput as error:
        found = [_mistake(each["field"], each["problem"]) for each in error.fields]
        return Checked(problems=found or [Mistake(line=1, problem=str(error))])
    return Checked(problems=[], diagram=draw(spec))


def _mistake(field: str, problem: str) -> Mistake:
    _, _, line = field.rpartition(" ")
    return Mistake(line=int(line) if line.isdigit() else 1, problem=problem)
