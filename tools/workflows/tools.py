"""Make workflows, change them, and say when they run."""

from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from nebula.errors import InvalidInput
from nebula.jobs.schedules.asked import At, CronText, EveryMinutes, MissedTicks, Zone, timing_of
from nebula.jobs.schedules.schedule import Missed
from nebula.owned import slug
from nebula.policy.selectors import Kind
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from tools.workflows.diagram import draw
from tools.workflows.parameters import Definition, Structure, WorkflowName
from tools.workflows.reading import written
from tools.workflows.ready import ready_ones, ready_workflow
from tools.workflows.runs import Runs
from tools.workflows.schemas import (
    WorkflowChange,
    WorkflowChecked,
    WorkflowDeleted,
    WorkflowDetail,
    WorkflowList,
)
from tools.workflows.service import Workflows
from tools.workflows.showing import detail


@tool(
    effect=Effect.READ,
    rest="GET /workflows",
    says=[
        "(list|show) [me] [(all|the|my)] workflows",
        "(which|what) workflows (are there|do i have|can i have)",
    ],
    examples=["what workflows do I have?", "which workflows are switched on"],
)
async def workflows_list(ctx: Context) -> WorkflowList:
    """List the workflows, when they run next, how they ended last, and the ready-made ones."""
    mine = await Workflows(ctx.parts).list(ctx.principal)
    return WorkflowList(workflows=mine, ready=ready_ones(mine))


@tool(
    effect=Effect.READ,
    outside=True,
    rest="GET /workflows/{workflow}",
    says=["(show|draw|describe) [me] [the] workflow {workflow}"],
    examples=[
        "show me the workflow nightly-check as a diagram",
        "what does the disk workflow do",
        "how far is the run of the backup workflow",
    ],
)
async def workflows_get(
    ctx: Context,
    workflow: WorkflowName,
    run: Annotated[
        str, Field(max_length=40, description="A run wfr_…: show its steps; `last` for the latest")
    ] = "",
) -> WorkflowDetail:
    """Show a workflow: its definition, its diagram and its last runs, or the steps of one run."""
    return await detail(Workflows(ctx.parts), Runs(ctx.parts), ctx.principal, workflow, run)


@tool(
    effect=Effect.READ,
    rest="POST /workflows/check",
    examples=["is this workflow right?", "check this workflow definition without saving it"],
)
async def workflows_check(
    ctx: Context, definition: Definition = "", spec: Structure = None
) -> WorkflowChecked:
    """Look for mistakes in a workflow without saving it, and draw it."""
    try:
        checked = Workflows(ctx.parts).checked(ctx.principal, _text(definition, spec))
    except InvalidInput as error:
        found = [f"{each['field']}: {each['problem']}" for each in error.fields]
        return WorkflowChecked(problems=found or [str(error)])
    return WorkflowChecked(problems=[], diagram=draw(checked))


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.CHECK_THEN_ACT,
    rest="POST /workflows",
    selectors={"definition": Kind.WORDS, "spec": Kind.WORDS, "from_ready": Kind.WORDS},
    says=["(switch on|set up|add|create) [the] ready [made] workflow {from_ready}"],
    examples=[
        "make a workflow that checks the disks every night and tells me when one is nearly full",
        "set up the ready workflow nightly-backup-check",
        "build a workflow: first list the jobs that failed, then notify the ops channel",
    ],
)
async def workflows_create(
    ctx: Context,
    definition: Definition = "",
    spec: Structure = None,
    from_ready: Annotated[
        str, Field(max_length=40, description="A ready-made workflow, in place of a definition")
    ] = "",
) -> WorkflowChange:
    """Save a workflow: named steps of tools that pass data on, as YAML text or as a structure.

    It is checked against the tools first; with a mistake nothing is saved. It may do what its
    owner may now, with its own tools, and never more. What needs an approval waits for a person.
    """
    text = ready_workflow(slug(from_ready)) if from_ready else _text(definition, spec)
    workflow, made = await Workflows(ctx.parts).create(ctx.caller, text)
    return WorkflowChange(workflow=workflow, done="is saved", diagram=draw(made))


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    rest="PATCH /workflows/{workflow}",
    selectors={
        "workflow": Kind.WORDS,
        "definition": Kind.WORDS,
        "spec": Kind.WORDS,
        "action": Kind.CHOICE,
    },
    says=["{action} [the] workflow {workflow}"],
    examples=[
        "pause the workflow nightly-check",
        "switch the disk workflow on again",
        "change the workflow nightly-check: warn below 20 GB",
    ],
)
async def workflows_update(
    ctx: Context,
    workflow: WorkflowName,
    definition: Definition = "",
    spec: Structure = None,
    action: Annotated[
        Literal["pause", "resume"] | None, Field(description="Switch it off or on again")
    ] = None,
) -> WorkflowChange:
    """Save a new version of a workflow, pause it, or switch it on again.

    Runs that go on keep the version they began with.
    """
    if not definition and spec is None and action is None:
        raise InvalidInput("Say what to change", hint="Give a definition, or action=pause.")
    workflows, said = Workflows(ctx.parts), "is changed"
    if definition or spec is not None:
        changed, _ = await workflows.update(ctx.caller, workflow, _text(definition, spec))
        workflow = changed.id
    if action is not None:
        await workflows.switch(ctx.caller, workflow, on=action == "resume")
        said = "is switched on" if action == "resume" else "is paused"
    return await _changed(ctx, workflow, said)


@tool(
    effect=Effect.DESTRUCTIVE,
    kind=EffectKind.CHECK_THEN_ACT,
    rest="DELETE /workflows/{workflow}",
    selectors={"workflow": Kind.WORDS},
    says=["(delete|remove) [the] workflow {workflow}"],
    examples=["delete the workflow nightly-check", "get rid of the disk workflow for good"],
)
async def workflows_delete(ctx: Context, workflow: WorkflowName) -> WorkflowDeleted:
    """Delete a workflow, its schedule and the record of its runs."""
    name, runs = await Workflows(ctx.parts).delete(ctx.caller, workflow)
    return WorkflowDeleted(name=name, runs=runs)


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.CHECK_THEN_ACT,
    rest="PUT /workflows/{workflow}/schedule",
    selectors={
        "workflow": Kind.WORDS,
        "cron": Kind.WORDS,
        "every_minutes": Kind.NUMBER,
        "at": Kind.WORDS,
    },
    says=[
        "(schedule|run) [the] workflow {workflow} every {every_minutes} minutes",
        "(unschedule|take the schedule from) [the] workflow {workflow}",
    ],
    examples=[
        "run the nightly check workflow at three every night, Berlin time",
        "let the disk workflow run every 15 minutes",
        "stop running the disk workflow by schedule",
    ],
)
async def workflows_schedule(  # noqa: PLR0917 - models pass them by name
    ctx: Context,
    workflow: WorkflowName,
    cron: CronText = None,
    timezone: Zone = "UTC",
    every_minutes: EveryMinutes = None,
    at: At = None,
    missed: MissedTicks = Missed.ONCE,
) -> WorkflowChange:
    """Set when a workflow runs by itself; without a time, it has no schedule any more."""
    timing = timing_of(cron, timezone, every_minutes, at)
    changed, _ = await Workflows(ctx.parts).schedule(ctx.caller, workflow, timing, missed)
    return await _changed(ctx, changed.id, "has no schedule" if timing is None else "is scheduled")


async def _changed(ctx: Context, workflow: str, done: str) -> WorkflowChange:
    found = await detail(Workflows(ctx.parts), Runs(ctx.parts), ctx.principal, workflow)
    return WorkflowChange(workflow=found.workflow, done=done, diagram=found.diagram)


def _text(definition: str, spec: dict[str, Any] | None) -> str:
    if bool(definition.strip()) == bool(spec):
        raise InvalidInput("Give the workflow as YAML in `definition`, or as `spec`: one of them")
    if not spec:
        return definition
    try:
        return written(spec)
    except yaml.YAMLError as error:
        raise InvalidInput("This structure cannot be written as YAML") from error
