"""Messages that came while the bot was away and that Discord does not send again."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import discord

from tools.discord.settings import DiscordSettings

if TYPE_CHECKING:
    from ui.discord.client import Bot

_MOST = 20
"""Messages looked at in one channel."""


async def catch_up(bot: "Bot") -> None:
    """Hear what was missed where people lately talked with Jarvis; what is too old is left."""
    minutes = bot.app.parts.settings_of(DiscordSettings).catch_up_minutes
    oldest = datetime.now(UTC) - timedelta(minutes=minutes)
    for channel_id, newest in (await _channels(bot)).items():
        after = max(int(newest), discord.utils.time_snowflake(oldest))
        try:
            channel = await bot.channel(channel_id)
            history = channel.history(limit=_MOST, after=discord.Object(after), oldest_first=True)
            missed = [message async for message in history]
        except (discord.Forbidden, discord.NotFound):
            continue
        for message in missed:
            await bot.hear(message)


async def _channels(bot: "Bot") -> dict[str, str]:
    """Return where people talked lately, and the channels that those threads are in."""
    found: dict[str, str] = {}
    for channel_id, newest in await bot.places.recent_channels():
        found[channel_id] = newest
        thread = bot.get_channel(int(channel_id))
        if isinstance(thread, discord.Thread):
            found.setdefault(str(thread.parent_id), newest)
    return found
