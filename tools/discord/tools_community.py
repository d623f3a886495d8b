"""The community bot of a Discord server: its rules, its commands, and what it did."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, ValidationError

from nebula.errors import InvalidInput, NotFound
from nebula.policy.selectors import Kind
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from nebula.tool.render import escape
from nebula.tool.result import Block, Markdown
from tools.discord.community.rules import (
    MOST_COMMANDS,
    Command,
    Community,
    Step,
    step_of,
)
from tools.discord.community.schemas import (
    CommunitySettings,
    rule_lines,
)
from tools.discord.community.setting import merged
from tools.discord.community.store import Communities, Kept
from tools.discord.parameters import (
    AllowOnlyLinks,
    DecayHours,
    DenyLinks,
    ExemptChannels,
    ExemptRoles,
    ForbidInvites,
    Ids,
    MostMentions,
    MostMessages,
    Names,
    RaidCalm,
    RaidJoins,
    RaidSeconds,
    Repeats,
    SpamSeconds,
)
from tools.discord.schemas import AnyServer
from tools.discord.servers import Servers


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
    deny_links: DenyLinks = None,
    allow_only_links: AllowOnlyLinks = None,
    forbid_invites: ForbidInvites = None,
    messages: MostMessages = None,
    seconds: SpamSeconds = None,
    repeats: Repeats = None,
    mentions: MostMentions = None,
    raid_joins: RaidJoins = None,
    raid_seconds: RaidSeconds = None,
    raid_calm_minutes: RaidCalm = None,
    exempt_roles: ExemptRoles = None,
    exempt_channels: ExemptChannels = None,
    decay_hours: DecayHours = None,
) -> CommunitySettings:
    """Set what counts as an offence on a Discord server: spam, links, words, raids."""
    changes = {
        "spam": _given(messages=messages, seconds=seconds, repeats=repeats, mentions=mentions),
        "links": _given(deny=deny_links, allow_only=allow_only_links, invites=forbid_invites),
        "raid": _given(joins=raid_joins, seconds=raid_seconds, calm_minutes=raid_calm_minutes),
    }
    alone = _given(exempt_roles=exempt_roles, exempt_channels=exempt_channels)
    top = {**alone, **_given(decay_hours=decay_hours)}
    if not (add_words or remove_words or top or any(changes.values())):
        raise InvalidInput("Say what to set: words, links, messages, mentions, raid_joins, …")

    def change(old: Community) -> Community:
        rules = old.moderation
        parts = {name: getattr(rules, name).model_copy(update=changes[name]) for name in changes}
        words = merged(rules.words, add_words, remove_words)
        rules = rules.model_copy(update={**parts, **top, "words": words})
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
