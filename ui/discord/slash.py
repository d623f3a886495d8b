"""Commands: told to Discord when they changed, completed while typed, and run as a turn."""

from typing import TYPE_CHECKING, Any

import discord
import structlog

from nebula.auth.principal import Caller, Principal
from nebula.errors import NebulaError, NotAuthenticated, NotFound, PermissionDenied
from nebula.llm.command.open import known_names
from nebula.llm.command.slash import spoken
from nebula.llm.command.slots import SlotValues
from nebula.policy.ask import Verdict
from nebula.tool.definition import AnyTool
from tools.discord.places import Begins, Heard
from ui.discord.canvas import NOBODY, ChannelCanvas, CommandCanvas
from ui.discord.commands import known_values
from ui.discord.messages import linked_text, show_begun

if TYPE_CHECKING:
    from ui.discord.client import Bot

log = structlog.get_logger(__name__)


async def synchronize(bot: "Bot") -> None:
    """Tell Discord all commands, unless it has exactly these already."""
    known = await bot.admission.servers.bot()
    commands, application = bot.commands, str(bot.application_id)
    if commands.left_out:
        log.warning("discord_commands_left_out", tools=commands.left_out)
    if (known.application_id, known.commands_sha256) == (application, commands.sha256):
        return
    await bot.http.bulk_upsert_global_commands(
        application,
        payload=commands.payload,
    )
    await bot.admission.servers.note_bot(
        application_id=application, commands_sha256=commands.sha256
    )
    log.info("discord_commands_told", count=len(commands.payload))


async def suggest(bot: "Bot", interaction: discord.Interaction) -> None:
    """Complete a value while it is typed; strangers learn no name of a service from it."""
    option = _focused(interaction.data or {})
    values: list[str] = []
    try:
        await bot.admission.person(interaction.user, interaction.channel)
    except NebulaError:
        option = None
    if option is not None:
        values = known_values(option["name"], str(option.get("value", "")), _known(bot))
    choices = [discord.app_commands.Choice(name=value, value=value) for value in values]
    await interaction.response.autocomplete(choices)


async def run(bot: "Bot", interaction: discord.Interaction) -> None:
    """Run a command.

    Raises:
        NebulaError: what to tell instead of an answer.
    """
    data: dict[str, Any] = dict(interaction.data or {})
    name = data.get("name")
    if name == "link":
        await _link(bot, interaction, data)
        return
    principal = await admitted(bot, interaction)
    if principal is None or not bot.admission.limit.take(interaction.user.id):
        return
    if name in {"new", "stop"}:
        await _own(bot, interaction, principal, str(name))
        return
    read = bot.commands.read(data)
    if read is None:
        raise NotFound(
            "This command is not there any more", hint="Reload Discord to see those that are."
        )
    _refuse_blocked(bot, read[0], principal)
    await interaction.response.defer(thinking=True)
    await _as_turn(bot, interaction, principal, spoken(*read))


def _refuse_blocked(bot: "Bot", tool: AnyTool, principal: Principal) -> None:
    """Refuse what they may not use at all; as a turn, a model would wonder what was meant."""
    decision = bot.app.parts.judge.standing(tool, Caller(principal, bot.surface))
    if decision.verdict is Verdict.BLOCK:
        raise PermissionDenied(decision.reason)


async def admitted(bot: "Bot", interaction: discord.Interaction) -> Principal | None:
    """Return who gave a command or pressed a button; None when they were told how to link."""
    try:
        return await bot.admission.person(interaction.user, interaction.channel)
    except NotAuthenticated as error:
        await whisper(interaction, f"{error} {error.hint}".strip())
        return None


async def whisper(interaction: discord.Interaction, text: str) -> None:
    """Say something that only the person at this command or button sees."""
    if interaction.response.is_done():
        await interaction.followup.send(text, ephemeral=True, allowed_mentions=NOBODY)
    else:
        await interaction.response.send_message(text, ephemeral=True, allowed_mentions=NOBODY)


async def _as_turn(
    bot: "Bot", interaction: discord.Interaction, principal: Principal, said: str
) -> None:
    channel = interaction.channel
    if not isinstance(channel, discord.abc.Messageable) or channel is None:
        channel = await bot.channel(str(interaction.channel_id))  # type: ignore[assignment]
    place, discord_id = str(interaction.channel_id), str(interaction.user.id)
    heard = Heard(
        message_id=str(interaction.id),
        discord_id=discord_id,
        place=place,
        channel_id=place,
        guild_id=None if interaction.guild_id is None else str(interaction.guild_id),
    )
    below = ChannelCanvas(channel)  # type: ignore[arg-type] # checked above
    async with bot.stage.in_order(place, discord_id):
        session_id = await bot.places.session_of(place, discord_id, principal.id)
        begins = Begins(heard)
        caller = Caller(principal, bot.surface)
        events = bot.jarvis.send(caller, said, session_id=session_id, also=begins)
        await show_begun(bot, begins, events, CommandCanvas(interaction, below), principal)


async def _link(bot: "Bot", interaction: discord.Interaction, data: dict[str, Any]) -> None:
    user = interaction.user
    if not bot.admission.codes.take(user.id):
        await whisper(interaction, "Too many tries. Wait a minute.")
        return
    code = next((str(o.get("value")) for o in data.get("options") or () if o["name"] == "code"), "")
    principal = await bot.admission.accounts.link(code, str(user.id), user.name)
    await whisper(interaction, linked_text(principal))


async def _own(
    bot: "Bot", interaction: discord.Interaction, principal: Principal, name: str
) -> None:
    place, discord_id = str(interaction.channel_id), str(interaction.user.id)
    if name == "new":
        await bot.places.forget(place, discord_id)
        await whisper(interaction, "The next thing you say here begins a new conversation.")
        return
    session_id = await bot.places.session_of(place, discord_id, principal.id)
    caller = Caller(principal, bot.surface, session_id=session_id)
    stopped = session_id is not None and await bot.jarvis.cancel(caller, session_id)
    await whisper(interaction, "Stopped." if stopped else "Nothing is going on here.")


def _known(bot: "Bot") -> SlotValues:
    services = bot.app.parts.services
    models = [model.name for service in services.map.services for model in service.models]
    return {**known_names(services), "model": lambda: models}


def _focused(data: Any) -> dict[str, Any] | None:
    for option in data.get("options") or ():
        if option.get("focused"):
            return dict(option)
        if (found := _focused(option)) is not None:
            return found
    return None
