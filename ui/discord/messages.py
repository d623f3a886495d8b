"""A message heard: is it for Jarvis, from whom, in which session; then its turn is shown."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import discord

from graphs.events import ChatEvent
from nebula.auth.principal import Caller, Principal
from nebula.errors import NotAuthenticated, PermissionDenied
from tools.discord.places import AnsweredAlready, Begins, Heard, ShownTurn
from tools.discord.schemas import AnswerIn
from tools.discord.settings import DiscordSettings
from ui.discord import hearing
from ui.discord.canvas import Canvas, ChannelCanvas

if TYPE_CHECKING:
    from ui.discord.client import Bot

_LINK = re.compile(r"^\s*/?link\s+([A-Za-z0-9-]{6,40})\s*$", re.IGNORECASE)
_THREAD_EXISTS = 160004
_VOICE = "I cannot listen to voice messages yet. Please write what you would like."


@dataclass(frozen=True)
class _Spot:
    """Where a message is answered."""

    place: str
    channel: "discord.abc.MessageableChannel"
    answering: discord.Message | None = None
    theirs: ShownTurn | None = None
    """The turn whose answer was replied to."""


async def hear(bot: "Bot", message: discord.Message) -> None:
    """Answer a message, when it is a person's and meant for Jarvis.

    Raises:
        NebulaError: what to tell them instead of an answer.
    """
    if bot.user is None or not hearing.is_persons(message):
        return
    if message.guild is None and (found := _LINK.match(message.content)):
        await link(bot, message, found[1])
        return
    # Taken before anything is awaited, so that messages are begun in the order they came.
    async with bot.stage.in_order(str(message.channel.id), str(message.author.id)):
        if not await _is_for_jarvis(bot, message) or await bot.places.is_known(str(message.id)):
            return
        principal = await _admitted(bot, message)
        if principal is None or not bot.admission.limit.take(message.author.id):
            return
        if hearing.is_voice(message):
            await message.reply(_VOICE, mention_author=False)
            return
        await _answer(bot, message, principal)


async def link(bot: "Bot", message: discord.Message, code: str) -> None:
    """Link the author's account with a code."""
    if not bot.admission.codes.take(message.author.id):
        return
    author = message.author
    principal = await bot.admission.accounts.link(code, str(author.id), author.name)
    await message.reply(linked_text(principal), mention_author=False)


def linked_text(principal: Principal) -> str:
    """Say that it worked."""
    return f"✅ Linked: here you are `{principal.name}`. Say what you would like me to do."


async def _is_for_jarvis(bot: "Bot", message: discord.Message) -> bool:
    """Say whether somebody talks to Jarvis: directly, by name, as a reply, or in their thread."""
    assert bot.user is not None
    if message.guild is None or hearing.mentions(message, bot.user):
        return True
    replied = hearing.answered_of(message)
    if replied is not None:
        return await bot.places.turn_showing(replied) is not None
    channel = message.channel
    mine = isinstance(channel, discord.Thread) and channel.owner_id == bot.user.id
    if not mine or any(user.id != bot.user.id for user in message.mentions):
        return False
    return await bot.places.has_session(str(channel.id), str(message.author.id))


async def _admitted(bot: "Bot", message: discord.Message) -> Principal | None:
    try:
        return await bot.admission.person(message.author, message.channel)
    except PermissionDenied:
        # Where Jarvis is not wanted he does not even say so.
        return None
    except NotAuthenticated as error:
        hint = bot.admission.hint(message.author.id, error)
        if hint is not None:
            await message.reply(hint, mention_author=False, suppress_embeds=True)
        return None


async def _answer(bot: "Bot", message: discord.Message, principal: Principal) -> None:
    assert bot.user is not None
    spot = await _spot(bot, message)
    discord_id = str(message.author.id)
    session_id = await bot.places.session_of(spot.place, discord_id, principal.id)
    settings = bot.app.parts.settings_of(DiscordSettings)
    said = await hearing.gathered(
        message,
        bot.user,
        most_bytes=settings.attachment_bytes,
        earlier=await _earlier(message, session_id, settings.context_messages),
        foreign=spot.theirs is not None and spot.theirs.discord_id != discord_id,
    )
    begins = Begins(
        Heard(
            message_id=str(message.id),
            discord_id=discord_id,
            place=spot.place,
            channel_id=str(spot.channel.id),
            guild_id=None if message.guild is None else str(message.guild.id),
        )
    )
    events = bot.jarvis.send(
        Caller(principal, bot.surface),
        said.text,
        session_id=session_id,
        attachments=said.others,
        also=begins,
    )
    await show_begun(bot, begins, events, ChannelCanvas(spot.channel, spot.answering), principal)


async def show_begun(
    bot: "Bot",
    begins: Begins,
    events: AsyncIterator[ChatEvent],
    canvas: Canvas,
    principal: Principal,
) -> None:
    """Begin a turn and show it in the background; a message that was answered before is not."""
    try:
        first = await anext(events)
    except AnsweredAlready:
        return
    assert begins.turn is not None
    channel = await bot.channel(begins.turn.channel_id)
    bot.stage.show(begins.turn, chained(first, events), canvas, principal, typing_in=channel)


async def chained(first: ChatEvent, rest: AsyncIterator[ChatEvent]) -> AsyncIterator[ChatEvent]:
    """Yield an event that was taken off already, then the others."""
    yield first
    async for event in rest:
        yield event


async def _spot(bot: "Bot", message: discord.Message) -> _Spot:
    """Return where a message is answered: here, in a thread made for it, or as a reply."""
    channel: discord.abc.MessageableChannel = message.channel
    replied = hearing.answered_of(message)
    theirs = None if replied is None else await bot.places.turn_showing(replied)
    if message.guild is None:
        # A reply to an agent's report goes on with the agent's conversation.
        place = str(channel.id) if theirs is None else theirs.place
        return _Spot(place, channel, theirs=theirs)
    if isinstance(channel, discord.Thread):
        return _Spot(str(channel.id), channel, message, theirs)
    if theirs is not None:
        return _Spot(theirs.place, channel, message, theirs)
    server = await bot.admission.servers.of(str(message.guild.id))
    wanted = server is None or server.answer_in is AnswerIn.THREAD
    thread = await _thread(bot, message) if wanted else None
    if thread is not None:
        return _Spot(str(thread.id), thread)
    # The first message of a chain of replies gives the chain its name.
    return _Spot(str(message.id), channel, message)


async def _thread(bot: "Bot", message: discord.Message) -> discord.Thread | None:
    """Open a thread below a message; None where that is not possible or not allowed."""
    assert bot.user is not None
    name = hearing.thread_name(hearing.own_words(message, bot.user))
    try:
        return await message.create_thread(name=name, auto_archive_duration=1440)
    except discord.HTTPException as error:
        if error.code != _THREAD_EXISTS:
            return None
    found = await bot.channel(str(message.id))  # a thread has its message's id
    return found if isinstance(found, discord.Thread) else None


async def _earlier(
    message: discord.Message, session_id: str | None, most: int
) -> list[discord.Message]:
    """Return what was said before in a thread that Jarvis was called into."""
    if session_id is not None or not isinstance(message.channel, discord.Thread) or not most:
        return []
    found = [each async for each in message.channel.history(limit=most, before=message)]
    return [each for each in reversed(found) if each.content]
