"""Where an answer is put: a channel, or the reply to a command. Nothing here ever pings anybody."""

import io
from collections.abc import Sequence
from typing import Any, Protocol

import discord

from ui.discord.render import Upload

NOBODY = discord.AllowedMentions.none()


class Gone(Exception):
    """The message or the channel is not there any more, or the bot may not write there."""


class Canvas(Protocol):
    """A place that messages are put in and changed in."""

    async def post(
        self,
        content: str,
        *,
        files: Sequence[Upload] = (),
        view: discord.ui.View | None = None,
        nonce: str = "",
    ) -> str:
        """Put a message there and return its id; the same nonce soon after puts none."""
        ...

    async def edit(
        self, message_id: str, content: str, *, view: discord.ui.View | None = None
    ) -> None:
        """Change a message of ours; buttons that are not given are taken away."""
        ...


class ChannelCanvas:
    """A channel, a thread, or a direct message."""

    def __init__(
        self, channel: "discord.abc.MessageableChannel", answering: discord.Message | None = None
    ) -> None:
        """Take the channel, and the message that the first one put here answers."""
        self._channel = channel
        self._answering = answering

    async def post(
        self,
        content: str,
        *,
        files: Sequence[Upload] = (),
        view: discord.ui.View | None = None,
        nonce: str = "",
    ) -> str:
        """Put a message there and return its id."""
        answering, self._answering = self._answering, None
        more: dict[str, Any] = {"nonce": nonce[:25]} if nonce else {}
        if answering is not None:
            # The message may be deleted meanwhile; then this is no reply.
            more["reference"] = answering.to_reference(fail_if_not_exists=False)
            more["mention_author"] = False
        if view is not None:
            more["view"] = view
        try:
            message = await self._channel.send(
                content,
                files=_files(files),
                allowed_mentions=NOBODY,
                suppress_embeds=True,
                **more,
            )
        except (discord.Forbidden, discord.NotFound) as error:
            raise Gone(str(error)) from error
        return str(message.id)

    async def edit(
        self, message_id: str, content: str, *, view: discord.ui.View | None = None
    ) -> None:
        """Change a message of ours."""
        message = self._channel.get_partial_message(int(message_id))  # type: ignore[union-attr]
        try:
            await message.edit(content=content, view=view, allowed_mentions=NOBODY)
        except (discord.Forbidden, discord.NotFound) as error:
            raise Gone(str(error)) from error


class CommandCanvas:
    """The reply to a command: first the reply that Discord waits for, then messages below it.

    Discord lets a reply be changed through the command for 15 minutes; after that, and for what
    is written below it, the channel is used.
    """

    def __init__(self, interaction: discord.Interaction, below: ChannelCanvas) -> None:
        """Take the command, which was deferred, and the channel it was given in."""
        self._interaction = interaction
        self._below = below
        self._first = ""

    async def post(
        self,
        content: str,
        *,
        files: Sequence[Upload] = (),
        view: discord.ui.View | None = None,
        nonce: str = "",
    ) -> str:
        """Fill the reply in, or put a message below it."""
        if self._first:
            return await self._followup(content, files, view)
        try:
            message = await self._interaction.edit_original_response(
                content=content, attachments=_files(files), view=view, allowed_mentions=NOBODY
            )
        except (discord.Forbidden, discord.NotFound):
            self._first = await self._below.post(content, files=files, view=view, nonce=nonce)
            return self._first
        self._first = str(message.id)
        return self._first

    async def _followup(
        self, content: str, files: Sequence[Upload], view: discord.ui.View | None
    ) -> str:
        more: dict[str, Any] = {} if view is None else {"view": view}
        try:
            message = await self._interaction.followup.send(
                content,
                files=_files(files),
                allowed_mentions=NOBODY,
                suppress_embeds=True,
                wait=True,
                **more,
            )
        except (discord.Forbidden, discord.NotFound):
            return await self._below.post(content, files=files, view=view)
        return str(message.id)

    async def edit(
        self, message_id: str, content: str, *, view: discord.ui.View | None = None
    ) -> None:
        """Change a message of ours."""
        if not self._interaction.is_expired():
            try:
                await self._interaction.followup.edit_message(
                    int(message_id), content=content, view=view, allowed_mentions=NOBODY
                )
            except (discord.Forbidden, discord.NotFound):
                pass
            else:
                return
        await self._below.edit(message_id, content, view=view)


def _files(files: Sequence[Upload]) -> list[discord.File]:
    return [discord.File(io.BytesIO(each.content), each.name) for each in files]
