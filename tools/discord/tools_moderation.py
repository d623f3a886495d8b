"""Moderation of a Discord server by hand, what was done by itself, and counts of what happens."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from nebula.policy.selectors import Kind
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from nebula.tool.render import escape
from nebula.tool.result import Block, Markdown
from tools.discord.client import DiscordRest
from tools.discord.community.actions import MODERATION, Action, Actions, action_id
from tools.discord.community.counting import Counts
from tools.discord.community.performing import Performing
from tools.discord.community.schemas import ActionDone, ActionList, Stats
from tools.discord.community.store import Communities
from tools.discord.finding import member as find_member
from tools.discord.finding import refuse_protected
from tools.discord.schemas import AnyServer
from tools.discord.servers import Servers

ActionId = Annotated[str, Field(max_length=40, description="The action's id act_…")]
Whom = Annotated[
    str, Field(min_length=1, max_length=100, description="The member's id or exact name")
]


async def moderate_versions(ctx: Context, values: Any) -> dict[str, str]:
    """Bind an approval to the member that a name means now; the protected are refused at once."""
    server, rest = await Servers(ctx.parts.db).find(values.server), DiscordRest(ctx.parts)
    found = await find_member(rest, server.guild_id, values.member)
    await refuse_protected(rest, server.guild_id, found)
    return {"server": server.guild_id, "member": found.id}


async def moderate_preview(ctx: Context, values: Any) -> Sequence[Block]:
    """Show who is meant."""
    server = await Servers(ctx.parts.db).find(values.server)
    found = await find_member(DiscordRest(ctx.parts), server.guild_id, values.member)
    where = escape(server.name)
    text = f"**{values.action}** {escape(found.name)} ({found.id}) on {where}"
    return [Markdown(text=text)]


@tool(
    effect=Effect.DESTRUCTIVE,
    kind=EffectKind.IDEMPOTENT,
    selectors={"server": Kind.WORDS, "member": Kind.WORDS, "action": Kind.CHOICE},
    rest="POST /discord/moderate",
    preview=moderate_preview,
    versions=moderate_versions,
    says=[
        "{action} [the] discord member {member} [(on|in) {server}]",
        "{action} {member} on discord",
    ],
    examples=["ban that spammer from our Discord", "time out mallory on Discord for an hour"],
)
async def discord_moderate(  # noqa: PLR0917 - the executor passes them by name
    ctx: Context,
    action: Annotated[
        Literal["warn", "timeout", "untimeout", "kick", "ban", "unban"],
        Field(description="What happens to them"),
    ],
    member: Whom,
    server: AnyServer = "",
    minutes: Annotated[int, Field(ge=1, le=40_320, description="How long a time-out lasts")] = 60,
    reason: Annotated[str, Field(max_length=300, description="Why; they may see it")] = "",
) -> ActionDone:
    """Warn, time out, kick or ban a member of a Discord server, or take that back."""
    found_server = await Servers(ctx.parts.db).find(server)
    guild_id, rest = found_server.guild_id, DiscordRest(ctx.parts)
    found = await find_member(rest, guild_id, member)
    await refuse_protected(rest, guild_id, found)
    detail: dict[str, Any] = {"minutes": minutes} if action == "timeout" else {}
    if action == "warn":
        detail = {
            "text": f"⚠ You were warned on {found_server.name}: {reason or 'no reason given'}"
        }
    made = Action(
        id=action_id("person", ctx.principal.id, ctx.call_id),
        guild_id=guild_id,
        kind=action,
        target_id=found.id,
        target_name=found.name,
        reason=reason,
        detail=detail,
        offence=action in {"warn", "timeout", "kick", "ban"},
        by=ctx.principal.name,
    )
    await Actions(ctx.parts.db).decide(made)
    kept = await Communities(ctx.parts.db).of(guild_id)
    return ActionDone(action=await Performing(ctx.parts).carry_out(made.id, kept.settings))


@tool(
    effect=Effect.READ,
    outside=True,
    rest="GET /discord/actions",
    says=[
        "(list|show) [the] discord [moderation] actions [(on|of) {server}]",
        "what did [the] discord moderation do [(on|in) {server}]",
    ],
    examples=["who was timed out on our Discord?", "why was bob warned on discord"],
)
async def discord_list_actions(
    ctx: Context,
    server: AnyServer = "",
    member: Annotated[
        str, Field(max_length=100, description="Only of this member, by id or name")
    ] = "",
    limit: Annotated[int, Field(ge=1, le=200, description="At most so many, newest first")] = 30,
) -> ActionList:
    """List what moderation did or would have done on a Discord server, and why."""
    found = await Servers(ctx.parts.db).find(server)
    actions = await Actions(ctx.parts.db).list(
        found.guild_id, target=member, kinds=(*MODERATION, "role"), limit=limit
    )
    return ActionList(server=found.name, actions=actions)


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    selectors={"action": Kind.ID},
    rest="POST /discord/actions/undo",
    says=["(undo|take back) [the] discord action {action}"],
    examples=["let them speak on Discord again", "undo that ban on discord"],
)
async def discord_undo_action(ctx: Context, action: ActionId) -> ActionDone:
    """Take back a time-out, a ban, a role or a verification level on a Discord server."""
    return ActionDone(action=await Performing(ctx.parts).undo(action, ctx.principal.name))


@tool(
    effect=Effect.READ,
    outside=True,
    rest="GET /discord/stats",
    says=[
        "[(show|how are)] [the] discord (stats|statistics) [(of|on) {server}]",
        "how busy is [the] discord [server] [{server}]",
    ],
    examples=["how many people joined our Discord this week?", "which discord channel is busiest"],
)
async def discord_stats(
    ctx: Context,
    server: AnyServer = "",
    days: Annotated[int, Field(ge=1, le=365, description="How many days back")] = 14,
) -> Stats:
    """Show messages per day and channel, joins, leaves and used commands of a Discord server."""
    found = await Servers(ctx.parts.db).find(server)
    first = datetime.now(UTC).date() - timedelta(days=days - 1)
    counts = await Counts(ctx.parts.db).since(found.guild_id, first)
    kept = await Communities(ctx.parts.db).of(found.guild_id)
    names: dict[str, str] = {}
    if any(each.kind == "message" for each in counts):
        channels = await DiscordRest(ctx.parts).channels(found.guild_id)
        names = {str(each["id"]): f"#{each['name']}" for each in channels}
    return Stats(
        server=found.name,
        first=first,
        days=days,
        counts=list(counts),
        channels=names,
        counting=kept.settings.count,
    )


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    selectors={"action": Kind.ID},
    timeout=60.0,
    examples=["carry out what the discord rules decided", "do the discord action that is due"],
)
async def discord_act(ctx: Context, action: ActionId) -> ActionDone:
    """Carry out one thing that the bot decided by a Discord server's settings, once."""
    due = await Actions(ctx.parts.db).get(action)
    kept = await Communities(ctx.parts.db).of(due.guild_id)
    return ActionDone(action=await Performing(ctx.parts).carry_out(action, kept.settings))
