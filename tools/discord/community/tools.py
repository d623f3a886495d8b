"""The community bot of a Discord server: its rules, its commands, and what it did."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from nebula.errors import InvalidInput, NotFound
from nebula.policy.selectors import Kind
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from nebula.tool.render import escape
from nebula.tool.result import Block, Markdown
from tools.discord.client import DiscordRest
from tools.discord.community.actions import MODERATION, Action, Actions, action_id
from tools.discord.community.counting import Counts
from tools.discord.community.performing import Performing
from tools.discord.community.rules import (
    MOST_COMMANDS,
    Command,
    Community,
    Domain,
    Step,
    step_of,
)
from tools.discord.community.schemas import (
    ActionDone,
    ActionList,
    CommunitySettings,
    Stats,
    rule_lines,
)
from tools.discord.community.setting import merged
from tools.discord.community.store import Communities, Kept
from tools.discord.finding import member as find_member
from tools.discord.finding import refuse_protected
from tools.discord.servers import Servers

AnyServer = Annotated[
    str, Field(max_length=100, description="The server's name or id; the only one when left out")
]
Names = Annotated[list[str], Field(max_length=100, description="Words, as they are written")]
Domains = list[Domain]
Ids = list[Annotated[str, Field(pattern=r"^[0-9]{1,20}$", description="An id of Discord")]]
ActionId = Annotated[str, Field(max_length=40, description="The action's id act_…")]
Whom = Annotated[
    str, Field(min_length=1, max_length=100, description="The member's id or exact name")
]


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    permission="discord:admin",
    selectors={
        "server": Kind.WORDS,
        "add_words": Kind.WORDS,
        "deny_links": Kind.WORDS,
        "allow_only_links": Kind.WORDS,
        "exempt_roles": Kind.WORDS,
        "exempt_channels": Kind.WORDS,
    },
    rest="PUT /discord/moderation",
    says=[
        "forbid [the] word {add_words} on discord [server {server}]",
        "allow [the] word {remove_words} on discord [server {server}]",
    ],
    examples=[
        "no links to example.org on our Discord",
        "allow at most 5 messages in 10 seconds on discord",
        "hold the raid brake on discord when 10 people join in a minute",
        "the moderators are exempt from the discord rules",
    ],
)
async def discord_set_moderation(  # noqa: PLR0917 - the executor passes them by name
    ctx: Context,
    server: AnyServer = "",
    add_words: Names = [],  # noqa: B006 - never changed
    remove_words: Names = [],  # noqa: B006
    deny_links: Annotated[
        Domains | None, Field(max_length=200, description="Domains nobody may link to")
    ] = None,
    allow_only_links: Annotated[
        Domains | None, Field(max_length=200, description="The only domains to link to; [] for all")
    ] = None,
    forbid_invites: Annotated[
        bool | None, Field(description="Whether invitations to other servers are an offence")
    ] = None,
    messages: Annotated[
        int | None, Field(ge=0, le=100, description="Most messages within `seconds`; 0 is off")
    ] = None,
    seconds: Annotated[
        int | None, Field(ge=1, le=120, description="The time in which messages are counted")
    ] = None,
    repeats: Annotated[
        int | None, Field(ge=0, le=50, description="The same text so often is spam; 0 is off")
    ] = None,
    mentions: Annotated[
        int | None, Field(ge=0, le=100, description="Most mentions in one message; 0 is off")
    ] = None,
    raid_joins: Annotated[
        int | None, Field(ge=0, le=1000, description="So many joins are a raid; 0 is off")
    ] = None,
    raid_seconds: Annotated[
        int | None, Field(ge=5, le=600, description="The time in which joins are counted")
    ] = None,
    raid_calm_minutes: Annotated[
        int | None, Field(ge=1, le=1440, description="How long the brake stays on")
    ] = None,
    exempt_roles: Annotated[
        Ids | None, Field(max_length=50, description="Ids of roles that are left alone")
    ] = None,
    exempt_channels: Annotated[
        Ids | None, Field(max_length=50, description="Ids of channels that are left alone")
    ] = None,
    decay_hours: Annotated[
        int | None, Field(ge=1, le=8760, description="After so long an offence counts no more")
    ] = None,
) -> CommunitySettings:
    """Set what counts as an offence on a Discord server: spam, links, words, raids."""
    changes = {
        "spam": _given(messages=messages, seconds=seconds, repeats=repeats, mentions=mentions),
        "links": _given(deny=deny_links, allow_only=allow_only_links, invites=forbid_invites),
        "raid": _given(joins=raid_joins, seconds=raid_seconds, calm_minutes=raid_calm_minutes),
    }
    top = _given(
        exempt_roles=exempt_roles, exempt_channels=exempt_channels, decay_hours=decay_hours
    )
    if not (add_words or remove_words or top or any(changes.values())):
        raise InvalidInput("Say what to set: words, links, messages, mentions, raid_joins, …")

    def change(old: Community) -> Community:
        rules = old.moderation
        values = {
            name: getattr(rules, name).model_copy(update=some) for name, some in changes.items()
        }
        words = merged(rules.words, add_words, remove_words)
        rules = rules.model_copy(update={**values, **top, "words": words})
        return old.model_copy(update={"moderation": rules})

    return await _changed(ctx, server, change)


async def enforce_preview(ctx: Context, values: Any) -> Sequence[Block]:
    """Show the rules that would act, and what an offence would bring."""
    server, kept = await _server(ctx, values.server)
    rules = _armed(kept.settings, values.steps, delete=values.delete).moderation
    return [Markdown(text="\n".join([f"**{escape(server)}**", "", *rule_lines(rules)]))]


async def enforce_versions(ctx: Context, values: Any) -> dict[str, str]:
    """Bind an approval to the settings it was given for; nonsense is refused before anybody is asked."""
    _, kept = await _server(ctx, values.server)
    _armed(kept.settings, values.steps, delete=values.delete)
    return {"settings": str(kept.revision)}


@tool(
    effect=Effect.DESTRUCTIVE,
    kind=EffectKind.IDEMPOTENT,
    permission="discord:admin",
    selectors={"server": Kind.WORDS, "steps": Kind.WORDS},
    rest="POST /discord/moderation/enforce",
    preview=enforce_preview,
    versions=enforce_versions,
    says=[
        "let [the] discord moderation act [(on|in) {server}]",
        "enforce [the] discord moderation [(on|in) {server}]",
    ],
    examples=[
        "the moderation on our Discord shall really act now",
        "on discord: first a warning, then 10 minutes time-out, then a ban",
    ],
)
async def discord_enforce_moderation(
    ctx: Context,
    server: AnyServer = "",
    steps: Annotated[
        list[str] | None,
        Field(max_length=10, description="For the first offence on: warn, timeout 10, kick, ban"),
    ] = None,
    delete: Annotated[bool, Field(description="Remove what was written against the rules")] = True,
) -> CommunitySettings:
    """Let the moderation of a Discord server act by itself: remove, warn, time out, kick, ban."""
    return await _changed(ctx, server, lambda old: _armed(old, steps, delete=delete))


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    permission="discord:admin",
    selectors={"server": Kind.WORDS, "name": Kind.WORDS, "text": Kind.WORDS, "roles": Kind.WORDS},
    rest="PUT /discord/commands",
    says=[
        "(add|set) [the] discord command {name} (answering|with) {text}",
        "answer [the] discord command {name} with {text}",
    ],
    examples=["when somebody writes !rules on our Discord, answer with the rules"],
)
async def discord_set_command(  # noqa: PLR0917 - the executor passes them by name
    ctx: Context,
    name: Annotated[
        str, Field(min_length=1, max_length=33, description="What follows the exclamation mark")
    ],
    text: Annotated[
        str,
        Field(
            min_length=1,
            max_length=1500,
            description="Answer, with {user} {server} {args} {count} {random:a|b}",
        ),
    ],
    server: AnyServer = "",
    cooldown_seconds: Annotated[
        int, Field(ge=1, le=86_400, description="How long one person waits between two uses")
    ] = 5,
    roles: Annotated[
        Ids, Field(max_length=50, description="Ids of roles that may use it; [] for everybody")
    ] = [],  # noqa: B006
) -> CommunitySettings:
    """Add a command such as !hello to a Discord server, or change its answer."""
    plain = name.strip().removeprefix("!").casefold()
    try:
        made = Command(name=plain, text=text, cooldown_seconds=cooldown_seconds, roles=tuple(roles))
    except ValidationError as error:
        said = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise InvalidInput(f"This is no command: {said}") from error

    def change(old: Community) -> Community:
        others = tuple(each for each in old.commands if each.name != plain)
        if len(others) >= MOST_COMMANDS:
            raise InvalidInput(f"A server has at most {MOST_COMMANDS} commands")
        return old.model_copy(update={"commands": (*others, made)})

    return await _changed(ctx, server, change)


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.CHECK_THEN_ACT,
    permission="discord:admin",
    selectors={"server": Kind.WORDS, "name": Kind.WORDS},
    rest="DELETE /discord/commands",
    says=["(remove|delete) [the] discord command {name} [(on|from) {server}]"],
    examples=["our Discord no longer needs !rules"],
)
async def discord_delete_command(
    ctx: Context,
    name: Annotated[str, Field(min_length=1, max_length=33, description="The command's name")],
    server: AnyServer = "",
) -> CommunitySettings:
    """Take a command of a Discord server away."""
    plain = name.strip().removeprefix("!").casefold()

    def change(old: Community) -> Community:
        if old.command(plain) is None:
            names = ", ".join(each.name for each in old.commands) or "none"
            raise NotFound(f"There is no command {plain!r}", hint=f"There are: {names}.")
        others = tuple(each for each in old.commands if each.name != plain)
        return old.model_copy(update={"commands": others})

    return await _changed(ctx, server, change)


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


def _armed(old: Community, steps: list[str] | None, *, delete: bool) -> Community:
    values: dict[str, Any] = {"mode": "act", "delete": delete}
    if steps is not None:
        values["steps"] = tuple(_step(each) for each in steps) or old.moderation.steps
    return old.model_copy(update={"moderation": old.moderation.model_copy(update=values)})


def _step(text: str) -> Step:
    try:
        return step_of(text)
    except ValueError as error:
        raise InvalidInput(str(error)) from error


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


async def _server(ctx: Context, server: str) -> tuple[str, Kept]:
    found = await Servers(ctx.parts.db).find(server)
    return found.name, await Communities(ctx.parts.db).of(found.guild_id)


async def _changed(ctx: Context, server: str, change: Any) -> CommunitySettings:
    found = await Servers(ctx.parts.db).find(server)
    kept = await Communities(ctx.parts.db).change(found.guild_id, ctx.principal, change)
    return CommunitySettings(
        server=found.name, settings=kept.settings, owner=kept.owner_name, done="is set"
    )
