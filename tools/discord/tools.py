"""Discord: linking one's account, and how the bot behaves on each server."""

from typing import Any

from nebula.errors import InvalidInput
from nebula.policy.selectors import Kind
from nebula.tool.context import Context
from nebula.tool.definition import Audience, Effect, EffectKind, tool
from tools.discord.accounts import Accounts
from tools.discord.community.setting import Wanted, set_community
from tools.discord.community.store import Communities
from tools.discord.parameters import (
    AnswerChannels,
    AnswerHow,
    AnswerRoles,
    AutoRole,
    AutoRoleAfter,
    AutoRoleAfterRules,
    Count,
    Enabled,
    LogChannel,
    Moderation,
    Welcome,
    WelcomeIn,
)
from tools.discord.schemas import (
    AnyServer,
    LinkCode,
    Server,
    ServerList,
    ServerSettings,
    Unlinked,
)
from tools.discord.servers import Servers


def _accounts(ctx: Context) -> Accounts:
    return Accounts(ctx.parts.db, ctx.parts.auth, ctx.parts.audit)


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.OPAQUE,
    audience=Audience.HUMAN,
    permission="discord:read",
    rest="POST /discord/link",
    says=["(link|connect) [my] discord [account]", "link me (to|with) discord"],
    examples=["I want to talk to you on Discord", "give me a code for discord"],
)
async def discord_link(ctx: Context) -> LinkCode:
    """Make a code that links your own Discord account to you, once and within ten minutes."""
    code, until = await _accounts(ctx).new_code(ctx.principal.id)
    bot = await Servers(ctx.parts.db).bot()
    return LinkCode(code=code, expires_at=until, bot=bot.name)


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    permission="discord:read",
    rest="POST /discord/unlink",
    says=["(unlink|disconnect) [my] discord [account]"],
    examples=["forget my Discord account", "my discord account was stolen, cut it off"],
)
async def discord_unlink(ctx: Context) -> Unlinked:
    """Let none of your Discord accounts speak for you any more."""
    return Unlinked(accounts=await _accounts(ctx).unlink(ctx.principal.id))


@tool(
    effect=Effect.READ,
    rest="GET /discord/servers",
    outside=True,
    says=["(list|show) [the|my] discord servers", "is the discord bot (there|connected|online)"],
    examples=["on which Discord servers are you?", "how is the discord bot doing"],
)
async def discord_list_servers(ctx: Context) -> ServerList:
    """List the Discord servers the bot is on, with how it behaves there, and how the bot is."""
    servers = Servers(ctx.parts.db)
    bot = await servers.bot()
    name = bot.name or "The bot"
    said = f"{name} is {bot.state}." + (f" {bot.problem}" if bot.problem else "")
    return ServerList(bot=said, servers=await servers.all())


@tool(
    effect=Effect.READ,
    rest="GET /discord/settings",
    outside=True,
    says=["(show|what are) [the] discord settings [(of|on|for) {server}]"],
    examples=[
        "in which channels do you answer on Discord?",
        "who may talk to the discord bot",
        "how are new members greeted on our discord",
    ],
)
async def discord_get_settings(ctx: Context, server: AnyServer = "") -> ServerSettings:
    """Show what the bot does on a Discord server: whom it answers, welcome, roles, moderation."""
    found = await Servers(ctx.parts.db).find(server)
    return await _settings(ctx, found)


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    permission="discord:admin",
    selectors={
        "server": Kind.WORDS,
        "channels": Kind.WORDS,
        "roles": Kind.WORDS,
        "welcome": Kind.WORDS,
        "welcome_in": Kind.WORDS,
        "autorole": Kind.WORDS,
        "log_channel": Kind.WORDS,
    },
    rest="PUT /discord/settings",
    says=[
        "answer (on|in) discord [server] {server} (with|in) [a] {answer_in}",
        "switch the discord bot {enabled} [(on|in) {server}]",
        "(set|switch) [the] discord moderation [to] {moderation} [(on|in) {server}]",
        "(welcome|greet) [new] [discord] members [(on|in) {server}] with {welcome}",
        "give [new] [discord] members [(on|in) {server}] the role {autorole}",
    ],
    examples=[
        "answer on Discord only in channel 1122334455",
        "only the moderators may use the discord bot",
        "stop answering on our Discord",
        "greet everybody who joins our discord in #hello",
        "stop giving new discord members a role",
        "count messages on the discord server",
    ],
)
async def discord_set_settings(  # noqa: PLR0917 - the executor passes them by name
    ctx: Context,
    server: AnyServer = "",
    enabled: Enabled = None,
    channels: AnswerChannels = None,
    roles: AnswerRoles = None,
    answer_in: AnswerHow = None,
    welcome: Welcome = None,
    welcome_in: WelcomeIn = None,
    autorole: AutoRole = None,
    autorole_after_minutes: AutoRoleAfter = None,
    autorole_after_rules: AutoRoleAfterRules = None,
    moderation: Moderation = None,
    log_channel: LogChannel = None,
    count: Count = None,
) -> ServerSettings:
    """Set whom the bot answers on a Discord server, its welcome, auto-role and moderation."""
    how = None if answer_in is None else answer_in.value
    own: dict[str, Any] = {"enabled": enabled, "channels": channels, "roles": roles}
    own = {name: value for name, value in {**own, "answer_in": how}.items() if value is not None}
    wanted = Wanted(
        welcome=welcome,
        welcome_in=welcome_in,
        autorole=autorole,
        autorole_after_minutes=autorole_after_minutes,
        autorole_after_rules=autorole_after_rules,
        moderation=moderation,
        log_channel=log_channel,
        count=count,
    )
    if not own and not wanted.any:
        raise InvalidInput("Say what to set: enabled, channels, welcome, autorole, moderation, …")
    servers = Servers(ctx.parts.db)
    found = await servers.find(server)
    if wanted.any:
        await set_community(ctx, found.guild_id, wanted)
    if own:
        found = await servers.change(found.guild_id, own)
    return await _settings(ctx, found, "is set")


async def _settings(ctx: Context, server: Server, done: str = "") -> ServerSettings:
    kept = await Communities(ctx.parts.db).of(server.guild_id)
    return ServerSettings(server=server, community=kept.settings, owner=kept.owner_name, done=done)
