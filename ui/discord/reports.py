"""What agents report on Discord: a message that belongs to the run's conversation, so that a reply
goes on with it, and below it what the run asks."""

from typing import TYPE_CHECKING

import discord
import structlog

from nebula.errors import NebulaError, NotFound, PermissionDenied
from nebula.markup.text import escape
from tools.agents import telling
from tools.agents.models import AgentRow, AgentRunRow
from tools.discord.places import ShownTurn
from ui.discord.canvas import ChannelCanvas, Gone
from ui.discord.render import safe
from ui.discord.split import split

if TYPE_CHECKING:
    from ui.discord.client import Bot

log = structlog.get_logger(__name__)

_AWAY = (NebulaError, discord.DiscordException, Gone)


async def report_due(bot: "Bot") -> None:
    """Show the reports that are due here, each at most once."""
    for agent, run in await telling.take(bot.app.parts, on_discord=True):
        try:
            told = await _report(bot, agent, run)
        except _AWAY as error:
            log.warning("discord_report_not_shown", run=run.id, why=str(error))
            told = f"Not shown on Discord: {error}"
            if run.state == "waiting":
                await bot.watch.ask_directly(agent.owner_id, everything=True)
        await telling.note(bot.app.parts, run.id, told)


async def _report(bot: "Bot", agent: AgentRow, run: AgentRunRow) -> str:
    accounts = await bot.admission.accounts.of_user(agent.owner_id)
    if not accounts:
        raise NotFound(f"{agent.owner_name} has no linked Discord account")
    discord_id = accounts[-1].discord_id
    # As the rows are now: whoever is locked out is told nothing.
    principal = await bot.admission.accounts.principal(discord_id)
    if run.session_id is not None:
        before = await bot.places.latest(run.session_id)
        if before is not None and before.turn_id == run.turn_id:
            # It was asked about here; the rest of its answer is drawn below the question.
            await bot.stage.show_again(run.session_id)
            return "Shown on Discord below its question."
    channel = await _channel(bot, agent.report_to or "discord:me", discord_id)
    canvas = ChannelCanvas(channel)
    shown = []
    for at, page in enumerate(_pages(agent, run)):
        nonce = f"{run.id[-16:]}-{run.state[:4]}{at}"
        shown.append(await canvas.post(page, nonce=nonce))
    if run.session_id is not None and run.turn_id is not None:
        turn = ShownTurn(
            message_id=f"report-{run.turn_id}",
            turn_id=run.turn_id,
            session_id=run.session_id,
            discord_id=discord_id,
            place=shown[0],
            channel_id=str(channel.id),
            shown=shown,
            settled=len(shown),
            state="waiting" if run.state == "waiting" else "shown",
        )
        await bot.places.note_report(turn)
    if run.state == "waiting":
        for approval in await bot.app.parts.approvals.list(principal, session_id=run.session_id):
            if await bot.cards.cards.of(approval.id) is None:
                await bot.cards.put(approval, str(channel.id), discord_id, canvas)
    return "Shown on Discord."


async def _channel(bot: "Bot", place: str, discord_id: str) -> "discord.abc.MessageableChannel":
    """Return where a report goes; what the server's lists and Discord's own rights allow counts.

    Raises:
        PermissionDenied: when the agent's owner is not answered there, or does not see it.
    """
    where = place.removeprefix(telling.DISCORD)
    if where == "me":
        return await bot.create_dm(discord.Object(int(discord_id)))
    guild_id, _, channel_id = where.partition("/")
    channel = await bot.channel(channel_id)
    guild = getattr(channel, "guild", None)
    if guild is None or str(guild.id) != guild_id:
        raise PermissionDenied("The channel is not on that server any more")
    try:
        member = await guild.fetch_member(int(discord_id))
    except discord.NotFound as error:
        raise PermissionDenied("The agent's owner is not on that server") from error
    await bot.admission.allowed_here(member, channel)
    if not channel.permissions_for(member).view_channel:
        raise PermissionDenied("The agent's owner does not see that channel")
    return channel


def _pages(agent: AgentRow, run: AgentRunRow) -> list[str]:
    said = telling.message_of(agent, run)
    return split(f"**{safe(escape(said['title']))}**\n{safe(said['message'])}")
