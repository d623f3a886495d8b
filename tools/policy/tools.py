"""The policy as tools: explain it, see it, throw and release the kill switch."""

from typing import Annotated

from pydantic import Field

from nebula.auth.principal import Role, Surface
from nebula.errors import InvalidInput
from nebula.policy.ask import Decision
from nebula.policy.matrix import CASES, answer
from nebula.policy.selectors import Kind
from nebula.tool.context import Context
from nebula.tool.definition import Audience, Effect, EffectKind, tool
from nebula.tool.usage import used_today
from nebula.tool.vouching.store import fitting
from tools.policy import grants
from tools.policy.schemas import (
    Answer,
    Endorsed,
    Explanation,
    GrantChange,
    GrantList,
    LimitUse,
    PolicyStatus,
    Switched,
)


@tool(
    effect=Effect.READ,
    rest="GET /policy/{name}",
    says=["explain [the] policy (of|for) {name}", "may [I|you] use {name}"],
    examples=["why does jarvis ask before gpu_release_lease?", "who may use users_delete?"],
)
async def policy_explain(
    ctx: Context,
    name: Annotated[str, Field(description="A tool's name", min_length=1, max_length=48)],
) -> Explanation:
    """Say what the policy answers for a tool: to you, and to every role at every door."""
    judge = ctx.parts.judge
    named = ctx.parts.registry.get(name)
    mine = judge.standing(named, ctx.caller)
    who = "a model" if ctx.caller.by_model else "a person"
    answers = [
        _answer(role.value, surface.value, case, answer(named, role, surface, case, judge.rules))
        for role in Role
        for surface in (Surface.CHAT, Surface.MCP, Surface.SCHEDULE)
        for case in CASES
    ]
    return Explanation(
        tool=named.name,
        effect=named.effect.value,
        permission=named.permission,
        level=judge.level(named),
        mine=_answer(ctx.principal.role.value, ctx.caller.surface.value, who, mine),
        answers=answers,
    )


@tool(
    effect=Effect.READ,
    rest="GET /policy",
    says=["(show|check) [the] policy", "is (everything|anything) paused"],
    examples=["which limits do I have left today?", "what are the rules here?"],
)
async def policy_status(ctx: Context) -> PolicyStatus:
    """Tell whether everything is paused, which rules hold, and what is left of today's limits."""
    judge = ctx.parts.judge
    rules = judge.rules
    async with ctx.parts.db.bare() as bare:
        used = await used_today(bare, ctx.principal.id, rules.limits, list(ctx.parts.registry))
    stopped = await judge.pause.now()
    return PolicyStatus(
        paused=None if stopped is None else str(stopped),
        version=judge.version,
        problems=list(judge.problems),
        limits=[
            LimitUse(
                limit=limit.name,
                calls=used.calls[limit.name],
                per_day=limit.per_day,
                money=f"{used.money[limit.name]:f}",
                money_per_day=None if limit.money_per_day is None else f"{limit.money_per_day:f}",
            )
            for limit in rules.limits
        ],
    )


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    rest="POST /policy/pause",
    selectors={"reason": Kind.WORDS},
    while_paused=True,
    says=["(pause|stop|halt|freeze) everything", "emergency stop"],
    examples=["stop everything at once", "hit the kill switch", "nothing may change anything now"],
)
async def policy_pause(
    ctx: Context,
    reason: Annotated[str, Field(description="Why, for whoever asks later", max_length=500)] = "",
) -> Switched:
    """Stop every side effect at once, in every process, until a person resumes."""
    stopped = await ctx.parts.judge.pause.throw(ctx.principal.name, reason)
    return Switched(paused=True, reason=stopped.reason, by=stopped.by, since=stopped.at)


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    permission="policy:admin",
    audience=Audience.HUMAN,
    while_paused=True,
    rest="POST /policy/resume",
    says=["resume everything", "(end|lift) the pause"],
    examples=["let jarvis work again", "release the kill switch"],
)
async def policy_resume(ctx: Context) -> Switched:
    """Let side effects happen again."""
    await ctx.parts.judge.pause.release(ctx.principal.name)
    return Switched(paused=False, by=ctx.principal.name)


@tool(
    effect=Effect.READ,
    rest="GET /policy/grants",
    says=["(list|show) [the|my] [standing] grants", "what may [jarvis] do without asking"],
    examples=["which standing grants are there?", "what did I allow for good?"],
)
async def policy_list_grants(
    ctx: Context,
    ended: Annotated[bool, Field(description="Also those that are over")] = False,
) -> GrantList:
    """List what may run without a person asked each time, and what has earned that by now."""
    found = await ctx.parts.judge.grants.list(ended=ended)
    return GrantList(grants=[each for each in found if grants.sees(ctx.principal, each)])


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.CHECK_THEN_ACT,
    permission="policy:admin",
    audience=Audience.HUMAN,
    selectors={"offer": Kind.ID, "days": Kind.NUMBER},
    rest="POST /policy/grants/{offer}",
    says=["(give|accept) [the] [standing] grant {offer}"],
    examples=["stop asking me about this one", "allow it for a month"],
)
async def policy_grant(
    ctx: Context,
    offer: Annotated[str, Field(description="The offer's id, gra_…", min_length=1, max_length=60)],
    days: Annotated[int, Field(description="How long it lasts", ge=1, le=365)] = 30,
) -> GrantChange:
    """Let calls run for a while without asking, where five confirmed runs have earned that.

    Exactly these values, for exactly this person; void after outside text, and one bad run ends it.
    """
    return GrantChange(grant=await grants.give(ctx, offer, days))


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.CHECK_THEN_ACT,
    audience=Audience.HUMAN,
    selectors={"grant": Kind.ID},
    while_paused=True,
    rest="DELETE /policy/grants/{grant}",
    says=["(revoke|withdraw|decline|end) [the] [standing] grant {grant}"],
    examples=["ask me again from now on", "that run was bad, take the permission away"],
)
async def policy_revoke_grant(
    ctx: Context,
    grant: Annotated[str, Field(description="Its id, gra_…", min_length=1, max_length=60)],
    why: Annotated[str, Field(description="What was wrong", max_length=500)] = "",
) -> GrantChange:
    """Withdraw a standing grant at once, or decline the offer of one."""
    return GrantChange(grant=await grants.end(ctx, grant, why))


@tool(
    effect=Effect.WRITE,
    audience=Audience.HUMAN,
    rest="POST /policy/endorsements",
    selectors={"tool": Kind.ID, "argument": Kind.ID, "value": Kind.WORDS, "session": Kind.ID},
    says=["endorse {value} as {argument} of {tool}"],
    examples=["trust this address once", "let it use that value once"],
)
async def policy_endorse(
    ctx: Context,
    tool: Annotated[str, Field(description="The tool that may use it", max_length=48)],
    argument: Annotated[str, Field(description="The argument that may be so", max_length=80)],
    value: Annotated[
        str | bool | int | float | list[str], Field(description="The value you vouch for")
    ],
    *,
    session: Annotated[
        str | None, Field(description="The conversation; this one when left out", max_length=64)
    ] = None,
    minutes: Annotated[float, Field(description="How long it counts", gt=0, le=1440)] = 60,
) -> Endorsed:
    """Vouch for one value: one call of one tool in one conversation may use it as if you had said it."""
    named = ctx.parts.registry.get(tool)
    where = session or ctx.caller.session_id
    if where is None:
        raise InvalidInput("Say which conversation may use it", hint="session=…")
    made = await ctx.parts.judge.vouching.endorse(
        named,
        argument,
        fitting(named, argument, value),
        principal_id=ctx.principal.id,
        session_id=where,
        by=ctx.principal,
        surface=ctx.caller.surface,
        minutes=minutes,
    )
    return Endorsed(endorsement=made)


def _answer(role: str, surface: str, case: str, decision: Decision) -> Answer:
    return Answer(
        role=role,
        surface=surface,
        case=case,
        verdict=decision.verdict,
        rule=decision.rule,
        reason=decision.reason,
    )
