"""Start agents, and see what they did."""

from typing import Annotated

from pydantic import Field

from nebula.auth.principal import Surface
from nebula.errors import PermissionDenied
from nebula.policy.selectors import Kind
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from tools.agents.parameters import AgentName
from tools.agents.runs import Runs, Wanted
from tools.agents.schemas import RunHandle, RunList, RunState


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.KEYED,
    rest="POST /agents/{agent}/run",
    selectors={"agent": Kind.WORDS, "task": Kind.WORDS},
    says=["(run|start) [the] agent {agent}"],
    examples=[
        "run the agent morning-report now",
        "start the triage agent",
        "try out the watch agent without changing anything",
        "what would the refresh agent do",
    ],
)
async def agents_run(
    ctx: Context,
    agent: AgentName,
    task: Annotated[
        str, Field(max_length=2000, description="What this run is about, beside its purpose")
    ] = "",
    *,
    dry_run: Annotated[
        bool, Field(description="Look and plan only; effects are listed and not done")
    ] = False,
) -> RunHandle:
    """Start a run of an agent; it goes on by itself, in a conversation of its own."""
    caller = ctx.caller
    if caller.surface is Surface.SCHEDULE and caller.agent is not None:
        raise PermissionDenied("An agent does not start agents.")
    tick = caller.surface is Surface.SCHEDULE
    wanted = Wanted(
        cause=ctx.call_id,
        started_by="its schedule" if tick else caller.principal.name,
        by_itself=tick,
        task=task,
        labels=caller.labels,
        dry_run=dry_run,
    )
    runs = Runs(ctx.parts)
    if not tick:
        await runs.check(agent, ctx.principal, task)
    return RunHandle(run=await runs.ask(agent, ctx.principal, wanted))


@tool(
    effect=Effect.READ,
    outside=True,
    rest="GET /agents/runs",
    says=[
        "[(list|show)] [me] [the] agent runs",
        "[(list|show)] [me] [the] runs of [the] agent {agent}",
        "what did [the] agent {agent} (do|report|say)",
    ],
    examples=[
        "what did my agents do last night?",
        "did the morning report run",
        "which agent runs failed",
        "what did the agents cost",
    ],
)
async def agents_list_runs(
    ctx: Context,
    agent: Annotated[
        str | None, Field(max_length=60, description="Only this agent's, by name or id")
    ] = None,
    state: Annotated[RunState | None, Field(description="Only runs in this state")] = None,
    limit: Annotated[int, Field(ge=1, le=200, description="At most so many, newest first")] = 20,
) -> RunList:
    """List runs of agents: state, how long, tokens, what each did, and its report."""
    runs = await Runs(ctx.parts).list(ctx.principal, agent, state, limit)
    return RunList(runs=list(runs), agent=runs[0].agent_id if agent and runs else "")
