"""What a message is to Jarvis: whether it is meant for him, what was said, and what is not theirs."""

import mimetypes
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import discord

from graphs.jarvis.service import Attachment
from memory.sessions import short_title
from nebula.errors import TooLarge

_ORDINARY = {discord.MessageType.default, discord.MessageType.reply}
_TEXT_ENDINGS = frozenset(
    [
        ".c",
        ".cfg",
        ".conf",
        ".cpp",
        ".css",
        ".csv",
        ".go",
        ".h",
        ".ini",
        ".java",
        ".js",
        ".json",
        ".jsonl",
        ".log",
        ".md",
        ".ps1",
        ".py",
        ".rs",
        ".sh",
        ".sql",
        ".toml",
        ".ts",
        ".tsv",
        ".txt",
        ".xml",
        ".yaml",
        ".yml",
    ]
)


@dataclass
class Said:
    """What a linked person said, with everything that others said kept apart."""

    text: str
    others: list[Attachment] = field(default_factory=list)
    """Text of other people and files: it informs, and commands nothing."""


def is_persons(message: discord.Message) -> bool:
    """Say whether a person wrote it: no bot, no webhook, no notice of Discord."""
    if message.author.bot or message.webhook_id is not None or message.author.system:
        return False
    return message.type in _ORDINARY


def mentions(message: discord.Message, me: discord.ClientUser) -> bool:
    """Say whether a message names the bot itself; @everyone and roles do not count."""
    return re.search(rf"<@!?{me.id}>", message.content) is not None


def answered_of(message: discord.Message) -> str | None:
    """Return the id of the message that this one replies to."""
    reference = message.reference
    if reference is None or reference.message_id is None:
        return None
    if message.type is not discord.MessageType.reply:
        return None
    return str(reference.message_id)


def is_voice(message: discord.Message) -> bool:
    """Say whether it is a voice message."""
    return message.flags.voice


def own_words(message: discord.Message, me: discord.ClientUser) -> str:
    """Return what the author wrote, without the bot's mention."""
    return re.sub(rf"<@!?{me.id}>", " ", message.content).strip(" ,:\n")


def thread_name(said: str) -> str:
    """Return a name for a thread about what was said."""
    return short_title(re.sub(r"<[@#:&!\w]+>", "", said)) or "Jarvis"


async def gathered(
    message: discord.Message,
    me: discord.ClientUser,
    *,
    most_bytes: int,
    earlier: Sequence[discord.Message] = (),
    foreign: bool = False,
) -> Said:
    """Return what a message says: the author's words, and apart from them all that is not.

    `foreign` says that the bot's message it replies to answers somebody else.

    Raises:
        TooLarge: for a file that is larger than what is read along.
    """
    said = Said(own_words(message, me))
    context = [each for each in earlier if each.id != message.id]
    replied = message.reference.resolved if message.reference is not None else None
    if isinstance(replied, discord.Message) and (replied.author.id != me.id or foreign):
        context.append(replied)
    for each in context:
        if each.author.id == message.author.id:
            said.text = f"{said.text}\n\n(Earlier I wrote: {each.content})".strip()
        elif each.content:
            said.others.append(_quoted(each))
    for snapshot in message.message_snapshots:
        if snapshot.content:
            said.others.append(_file("forwarded message", snapshot.content))
    for attached in message.attachments:
        said.others.append(await _read(attached, most_bytes))
    if not said.text and said.others:
        said.text = "Look at this."
    return said


def _quoted(message: discord.Message) -> Attachment:
    # The name is theirs as well, so it stands inside.
    return _file("message of somebody else", f"{message.author.display_name}: {message.content}")


def _file(name: str, text: str) -> Attachment:
    return Attachment(name=name, media_type="text/plain", content=text.encode())


async def _read(attached: discord.Attachment, most_bytes: int) -> Attachment:
    if attached.size > most_bytes:
        raise TooLarge(
            f"{attached.filename} is larger than {most_bytes // 1024} KiB",
            hint="Add it to the knowledge in the web chat, then ask about it.",
        )
    return Attachment(
        name=attached.filename, media_type=_media_type(attached), content=await attached.read()
    )


def _media_type(attached: discord.Attachment) -> str:
    """Return what kind of file it is; well-known text files are text whatever Discord calls them."""
    ending = f".{attached.filename.rpartition('.')[2].lower()}"
    if ending in _TEXT_ENDINGS:
        return "text/plain"
    guessed = attached.content_type or mimetypes.guess_type(attached.filename)[0]
    return (guessed or "application/octet-stream").partition(";")[0]
