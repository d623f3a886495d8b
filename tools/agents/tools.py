"""Make agents, change them, and set when they run."""

from typing import Annotated, Any, Literal

from pydantic import Field

from nebula.errors import InvalidInput
from nebula.jobs.schedules.asked import At, CronText, EveryMinutes, MissedTicks, Zone, timing_of
from nebula.jobs.schedules.schedule import Missed
from nebula.owned import slug
from nebula.policy.selectors import Kind
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from tools.agents.parameters import (
    AgentName,
    Features,
    LimitValues,
    OnEvent,
    Overlap,
    Purpose,
    ReportTo,
    ReportWhen,
    Tier,
    Tools,
    Where,
)
from tools.agents.ready import ready_agent
from tools.agents.reporting import checked_place
from tools.agents.schemas import (
    AgentChange,
    AgentDeleted,
)
from tools.agents.service import Agents, spec_of
from tools.agents.stopping import stop_runs_of


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
        "report_to": await checked_place(ctx, report_to),
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
        changes["report_to"] = await checked_place(ctx, report_to)
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
    await stop_runs_of(ctx.parts, ctx.principal, agent)
    name, runs = await Agents(ctx.parts).delete(ctx.caller, agent)
    return AgentDeleted(name=name, runs=runs)


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
    every_minutes: EveryMinutes = None,
    at: At = None,
    missed: MissedTicks = Missed.ONCE,
) -> AgentChange:
    """Set when an agent runs by itself; without a time, it has no schedule any more."""
    timing = timing_of(cron, timezone, every_minutes, at)
    changed = await Agents(ctx.parts).schedule(ctx.caller, agent, timing, missed)
    return AgentChange(agent=changed, done="has no schedule" if timing is None else "is scheduled")


def _trigger(on_event: str | None, where: dict[str, str]) -> dict[str, Any] | None:
    if not on_event:
        if where:
            raise InvalidInput("`where` filters an event", hint="Give on_event too.")
        return None
    return {"event": on_event, "where": where}
