"""Run workflows, see how far they are, cancel them, and go on where they failed."""

from typing import Annotated, Any

from pydantic import Field

from nebula.auth.grant import Grant
from nebula.auth.principal import Surface
from nebula.errors import PermissionDenied
from nebula.policy.selectors import Kind
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from tools.workflows.parameters import RunId, WorkflowName
from tools.workflows.runs import Runs, Wanted
from tools.workflows.schemas import Asked, RunHandle, RunList, RunState


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.KEYED,
    rest="POST /workflows/{workflow}/run",
    selectors={"workflow": Kind.WORDS, "inputs": Kind.WORDS},
    says=["(run|start) [the] workflow {workflow}"],
    examples=[
        "run the workflow nightly-check now",
        "start the disk workflow",
        "what would the workflow nightly-check do",
        "try out the backup workflow without changing anything",
    ],
)
async def workflows_run(
    ctx: Context,
    workflow: WorkflowName,
    inputs: Annotated[
        dict[str, Any], Field(description="Values for its inputs, by their names")
    ] = {},  # noqa: B006 - read only
    *,
    dry_run: Annotated[
        bool, Field(description="Look only; what would change something is listed and not done")
    ] = False,
) -> RunHandle:
    """Start a run of a workflow; it goes on by itself and waits where a person is asked."""
    caller = ctx.caller
    if caller.surface is Surface.SCHEDULE and caller.agent is not None:
        raise PermissionDenied("Agents and workflows start no workflows.")
    tick = caller.surface is Surface.SCHEDULE
    who = ctx.principal
    wanted = Wanted(
        cause=ctx.call_id,
        started_by="its schedule" if tick else caller.principal.name,
        by_itself=tick,
        inputs=inputs,
        labels=caller.labels,
        dry_run=dry_run,
        limit=None if tick else Grant(who.permissions, who.denied),
    )
    return RunHandle(run=await Runs(ctx.parts).ask(workflow, who, wanted))


@tool(
    effect=Effect.READ,
    outside=True,
    rest="GET /workflows/runs",
    says=[
        "[(list|show)] [me] [the] workflow runs",
        "[(list|show)] [me] [the] runs of [the] workflow {workflow}",
    ],
    examples=[
        "what did my workflows do last night?",
        "did the nightly check run",
        "which workflow runs failed",
    ],
)
async def workflows_list_runs(
    ctx: Context,
    workflow: Annotated[
        str | None, Field(max_length=60, description="Only this workflow's, by name or id")
    ] = None,
    state: Annotated[RunState | None, Field(description="Only runs in this state")] = None,
    limit: Annotated[int, Field(ge=1, le=200, description="At most so many, newest first")] = 20,
) -> RunList:
    """List runs of workflows: state, who started them, how long they worked, what went wrong."""
    return RunList(runs=await Runs(ctx.parts).list(ctx.principal, workflow, state, limit))


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    rest="POST /workflows/runs/{run}/cancel",
    selectors={"run": Kind.ID},
    says=["(cancel|stop) [the] workflow run {run}"],
    examples=["cancel the workflow run wfr_1", "stop that run of the nightly check"],
)
async def workflows_cancel(ctx: Context, run: RunId) -> RunHandle:
    """Cancel a run: steps under way are stopped, and what it was waiting for is dropped."""
    return RunHandle(run=await Runs(ctx.parts).cancel(run, ctx.principal))


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.CHECK_THEN_ACT,
    rest="POST /workflows/runs/{run}/resume",
    selectors={"run": Kind.ID, "again": Kind.CHOICE},
    says=["(resume|retry|continue) [the] workflow run {run}"],
    examples=[
        "resume the workflow run wfr_1",
        "try the failed step of the nightly check again",
    ],
)
async def workflows_resume(
    ctx: Context,
    run: RunId,
    *,
    again: Annotated[
        bool,
        Field(description="Make a call once more of which nobody knows whether it took effect"),
    ] = False,
) -> RunHandle:
    """Go on with a run that failed or was cancelled, at the step that failed.

    What was done stays done and is not repeated.
    """
    return RunHandle(run=await Runs(ctx.parts).resume(run, ctx.principal, again=again))


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    confirm=True,
    public=True,
    selectors={"question": Kind.WORDS},
    examples=["ask somebody whether this may go on", "get a person's yes before the next step"],
)
async def workflows_ask(
    ctx: Context,
    question: Annotated[str, Field(max_length=2_000, description="What a person says yes to")],
) -> Asked:
    """Ask a person, in the open questions, and go on only when they say yes; it changes nothing."""
    del ctx
    return Asked(question=question)
