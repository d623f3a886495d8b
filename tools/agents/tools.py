"""Make agents, start them, and see what they did."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field

from nebula.auth.principal import Surface
from nebula.errors import InvalidInput, PermissionDenied
from nebula.jobs.schedules.schedule import Missed
from nebula.jobs.schedules.timing import Every, Once
from nebula.policy.selectors import Kind
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from tools.agents.ready import ready_agent, ready_agents
from tools.agents.runs import Runs, Wanted
from tools.agents.schemas import (
    AgentChange,
    AgentDeleted,
    AgentList,
    ReadyAgent,
    RunHandle,
    RunList,
    RunState,
)
from tools.agents.service import Agents, Timing, cron_of, slug, spec_of
from tools.agents.spec import LONGEST_PURPOSE, Spec, near
from tools.notify.schemas import ChannelList

AgentName = Annotated[
    str, Field(min_length=1, max_length=60, description="The agent's name, or its id agt_…")
]
Purpose = Annotated[
    str | None,
    Field(
        max_length=LONGEST_PURPOSE,
        description="What it shall do in each run, in the owner's words: all it is told",
    ),
]
Features = Annotated[
    list[str] | None, Field(max_length=20, description="Features whose tools it may use, e.g. gpu")
]
Tools = Annotated[
    list[str] | None, Field(max_length=16, description="Single tools it may use, by name")
]
Tier = Annotated[Literal["small", "large"] | None, Field(description="Which model thinks for it")]
CronText = Annotated[
    str | None,
    Field(max_length=200, description="Minute, hour, day, month, weekday: '0 7 * * 1-5', @daily"),
]
Zone = Annotated[str, Field(max_length=60, description="Time zone, e.g. Europe/Berlin")]
OnEvent = Annotated[
    str | None,
    Field(max_length=60, description="Event that starts it: job.changed, services.health_changed"),
]
Where = Annotated[
    dict[str, str],
    Field(max_length=5, description="Fields of the event and their value: {state: failed}"),
]
ReportTo = Annotated[
    str | None,
    Field(max_length=40, description="A notification channel; empty for its session alone"),
]
ReportWhen = Annotated[
    Literal["always", "news", "problems"] | None,
    Field(description="Report every run, only news, or only failures"),
]
Overlap = Annotated[
    Literal["skip", "queue"] | None,
    Field(description="What a run does while an earlier one goes on"),
]
LimitValues = Annotated[
    dict[str, Decimal],
    Field(
        max_length=6,
        description="steps, minutes, tokens (of a run); runs_per_day, money_per_day; failures",
    ),
]


@tool(
    effect=Effect.READ,
    rest="GET /agents",
    says=[
        "(list|show) [me] [(all|the|my)] [autonomous] agents",
        "(which|what) agents (are there|do i have|can i have)",
    ],
    examples=[
        "what runs by itself here?",
        "which agents are switched on",
        "what ready-made agents are there",
    ],
)
async def agents_list(ctx: Context) -> AgentList:
    """List the agents that run by themselves, when they run next, and the ready-made ones."""
    found = await Agents(ctx.parts).list(ctx.principal)
    taken = {agent.name for agent in found}
    ready = [_ready(spec) for name, spec in ready_agents().items() if name not in taken]
    return AgentList(agents=found, ready=ready)


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.CHECK_THEN_ACT,
    rest="POST /agents",
    selectors={
        "name": Kind.WORDS,
        "purpose": Kind.WORDS,
        "features": Kind.WORDS,
        "tools": Kind.ID,
        "cron": Kind.WORDS,
        "on_event": Kind.WORDS,
        "report_to": Kind.CHANNEL,
        "from_ready": Kind.WORDS,
    },
    says=[
        "(switch on|set up|add|create) [the] ready [made] agent {from_ready}",
        "(switch on|set up|add|create) [the] ready [made] agent {from_ready}"
        " (reporting|that reports) to {report_to}",
    ],
    examples=[
        "every morning at seven, tell me on discord what is broken",
        "make an agent that looks at failed jobs",
        "switch on the ready agent morning-report",
        "check for new model versions every monday",
    ],
)
async def agents_create(  # noqa: PLR0917 - models pass them by name
    ctx: Context,
    name: Annotated[str, Field(max_length=40, description="A short name: morning-report")] = "",
    purpose: Purpose = None,
    features: Features = None,
    tools: Tools = None,
    cron: CronText = None,
    timezone: Zone = "UTC",
    on_event: OnEvent = None,
    where: Where = {},  # noqa: B006 - read only
    report_to: ReportTo = None,
    report_when: ReportWhen = None,
    tier: Tier = None,
    overlap: Overlap = None,
    limits: LimitValues = {},  # noqa: B006 - read only
    from_ready: Annotated[
        str, Field(max_length=40, description="A ready-made agent that gives what is left out")
    ] = "",
) -> AgentChange:
    """Make an agent that works by itself: on a cron schedule, on an event, or when started.

    It may do what its owner may now, within its features and tools, and never more. What needs
    an approval waits for a person.
    """
    values: dict[str, Any] = {}
    if from_ready:
        values = ready_agent(slug(from_ready)).model_dump(mode="json")
    given = {
        "name": slug(name),
        "purpose": purpose,
        "features": features,
        "tools": tools,
        "cron": cron,
        "trigger": _trigger(on_event, where),
        "report_to": await _channel(ctx, report_to),
        "report_when": report_when,
        "tier": tier,
        "overlap": overlap,
    }
    values |= {key: value for key, value in given.items() if value}
    values["timezone"] = timezone
    values["limits"] = {**values.get("limits", {}), **limits}
    agent = await Agents(ctx.parts).create(ctx.caller, spec_of(values))
    return AgentChange(agent=agent, done="is made")


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    rest="PATCH /agents/{agent}",
    selectors={
        "agent": Kind.WORDS,
        "action": Kind.CHOICE,
        "purpose": Kind.WORDS,
        "features": Kind.WORDS,
        "tools": Kind.ID,
        "on_event": Kind.WORDS,
        "report_to": Kind.CHANNEL,
    },
    says=["{action} [the] agent {agent}"],
    examples=[
        "pause the agent morning-report",
        "switch the triage agent on again",
        "let the morning report go to the ops channel",
        "give the watch agent the notify feature too",
    ],
)
async def agents_update(  # noqa: PLR0917 - models pass them by name
    ctx: Context,
    agent: AgentName,
    action: Annotated[
        Literal["pause", "resume"] | None, Field(description="Switch it off or on again")
    ] = None,
    purpose: Purpose = None,
    features: Features = None,
    tools: Tools = None,
    on_event: OnEvent = None,
    where: Where = {},  # noqa: B006 - read only
    report_to: ReportTo = None,
    report_when: ReportWhen = None,
    tier: Tier = None,
    overlap: Overlap = None,
    limits: LimitValues = {},  # noqa: B006 - read only
) -> AgentChange:
    """Change an agent, pause it or switch it on again; with other features it gets new rights."""
    given: dict[str, Any] = {
        "purpose": purpose,
        "features": features,
        "tools": tools,
        "report_when": report_when,
        "tier": tier,
        "overlap": overlap,
        "limits": limits or None,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    if on_event is not None:
        changes["trigger"] = _trigger(on_event, where)
    if report_to is not None:
        changes["report_to"] = await _channel(ctx, report_to)
    if not changes and action is None:
        raise InvalidInput("Say what to change", hint="action=pause, purpose=…, limits=…")
    agents, said = Agents(ctx.parts), "is changed"
    found = await agents.update(ctx.caller, agent, changes) if changes else None
    if action is not None:
        found = await agents.switch(ctx.caller, agent, on=action == "resume")
        said = "is switched on" if action == "resume" else "is paused"
    assert found is not None
    return AgentChange(agent=found, done=said)


@tool(
    effect=Effect.DESTRUCTIVE,
    kind=EffectKind.CHECK_THEN_ACT,
    rest="DELETE /agents/{agent}",
    selectors={"agent": Kind.WORDS},
    says=["(delete|remove) [the] agent {agent}"],
    examples=["delete the agent morning-report", "get rid of the triage agent for good"],
)
async def agents_delete(ctx: Context, agent: AgentName) -> AgentDeleted:
    """Delete an agent, its schedule and the record of its runs; their conversations stay."""
    name, runs = await Agents(ctx.parts).delete(ctx.caller, agent)
    return AgentDeleted(name=name, runs=runs)


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
    return RunHandle(run=await Runs(ctx.parts).ask(agent, ctx.principal, wanted))


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.CHECK_THEN_ACT,
    rest="PUT /agents/{agent}/schedule",
    selectors={
        "agent": Kind.WORDS,
        "cron": Kind.WORDS,
        "every_minutes": Kind.NUMBER,
        "at": Kind.WORDS,
    },
    says=[
        "(schedule|run) [the] agent {agent} every {every_minutes} minutes",
        "(unschedule|take the schedule from) [the] agent {agent}",
    ],
    examples=[
        "run the morning report at half past six on weekdays, Berlin time",
        "let the watch agent run every 15 minutes",
        "stop running the refresh agent by schedule",
    ],
)
async def agents_schedule(  # noqa: PLR0917 - models pass them by name
    ctx: Context,
    agent: AgentName,
    cron: CronText = None,
    timezone: Zone = "UTC",
    every_minutes: Annotated[
        int | None, Field(ge=1, le=100_000, description="Instead of cron: minutes between runs")
    ] = None,
    at: Annotated[
        AwareDatetime | None, Field(description="Instead of cron: one moment, with its zone")
    ] = None,
    missed: Annotated[
        Missed, Field(description="Ticks while everything was off: skip, once, or all of them")
    ] = Missed.ONCE,
) -> AgentChange:
    """Set when an agent runs by itself; without a time, it has no schedule any more."""
    timing = _timing(cron, timezone, every_minutes, at)
    changed = await Agents(ctx.parts).schedule(ctx.caller, agent, timing, missed)
    return AgentChange(agent=changed, done="has no schedule" if timing is None else "is scheduled")


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
    return RunList(runs=await Runs(ctx.parts).list(ctx.principal, agent, state, limit))


def _ready(spec: Spec) -> ReadyAgent:
    when = spec.cron or (f"on {spec.trigger.event}" if spec.trigger else "when it is started")
    return ReadyAgent(
        name=spec.name,
        purpose=spec.purpose,
        features=spec.features,
        tools=spec.tools,
        when=when,
    )


def _trigger(on_event: str | None, where: dict[str, str]) -> dict[str, Any] | None:
    if not on_event:
        if where:
            raise InvalidInput("`where` filters an event", hint="Give on_event too.")
        return None
    return {"event": on_event, "where": where}


def _timing(
    cron: str | None, timezone: str, every_minutes: int | None, at: datetime | None
) -> Timing | None:
    given = [value for value in (cron, every_minutes, at) if value is not None]
    if len(given) > 1:
        raise InvalidInput("Give one of cron, every_minutes and at")
    if cron is not None:
        return cron_of(cron, timezone)
    if every_minutes is not None:
        return Every(seconds=every_minutes * 60, start=datetime.now(UTC))
    return None if at is None else Once(at=at)


async def _channel(ctx: Context, name: str | None) -> str | None:
    """Return the channel that is meant; raises InvalidInput when there is none of that name."""
    if not name:
        return None
    if not ctx.principal.can("notify:write"):
        raise PermissionDenied("Reports to a channel need the permission notify:write.")
    listed = await ctx.calls.call_by_name("notify_list_channels", {})
    assert isinstance(listed, ChannelList)
    known = {channel.name.casefold(): channel.name for channel in listed.channels}
    if name.casefold() not in known:
        hint = near(name, known.values()) or "Add one with /notify_set_channel first."
        raise InvalidInput(f"There is no notification channel {name!r}", hint=hint)
    return known[name.casefold()]
