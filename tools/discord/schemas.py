"""What the Discord tools take and return."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from nebula.tool.render import as_text, escape
from nebula.tool.result import Block, Markdown, Result, ShownOnce, Table
from tools.discord.community.rules import Community
from tools.discord.community.schemas import lines_of

AnyServer = Annotated[
    str, Field(max_length=100, description="The server's name or id; the only one when left out")
]


class AnswerIn(StrEnum):
    """Where a mention in a channel is answered."""

    THREAD = "thread"
    REPLY = "reply"


class BotState(BaseModel):
    """How the bot is."""

    model_config = ConfigDict(from_attributes=True)

    application_id: str = ""
    name: str = ""
    commands_sha256: str = ""
    state: str = "off"
    problem: str = ""


class Server(BaseModel):
    """A server and how the bot behaves there."""

    model_config = ConfigDict(from_attributes=True)

    guild_id: str
    name: str
    enabled: bool = True
    channels: list[str] = []
    roles: list[str] = []
    answer_in: AnswerIn = AnswerIn.THREAD


class ServerList(Result):
    """The servers the bot is in."""

    bot: str
    servers: list[Server]

    def render(self) -> Sequence[Block]:
        """Show a table below how the bot is, or how to come to the first server."""
        if not self.servers:
            how = "It is on no server yet: the manual's page on Discord says how to invite it."
            return [Markdown(text=f"{escape(self.bot)} {how}")]
        rows = [
            [
                server.name,
                server.guild_id,
                as_text(server.enabled),
                ", ".join(server.channels) or "all",
                ", ".join(server.roles) or "all",
                server.answer_in.value,
            ]
            for server in self.servers
        ]
        columns = ["Server", "Id", "On", "Channels", "Roles", "Answers in"]
        return [Markdown(text=escape(self.bot)), Table(columns=columns, rows=rows)]


class ServerSettings(Result):
    """How the bot behaves on a server."""

    server: Server
    community: Community = Community()
    owner: str = ""
    """Whose rights the community bot acts with there."""
    done: str = ""

    def render(self) -> Sequence[Block]:
        """Say it in a few lines."""
        server = self.server
        said = f"**{escape(server.name)}** {escape(self.done)}".strip()
        where = "a thread" if server.answer_in is AnswerIn.THREAD else "a reply"
        lines = [
            f"- answers: {'yes' if server.enabled else 'no'}, a mention in {where}",
            f"- channels: {escape(', '.join(server.channels) or 'all')}",
            f"- roles: {escape(', '.join(server.roles) or 'all')}",
            *lines_of(self.community, self.owner),
        ]
        return [Markdown(text="\n".join([said, "", *lines]))]


class LinkCode(Result):
    """A code that links a Discord account."""

    code: Annotated[str, ShownOnce("Ask for a new code with /discord_link.")]
    expires_at: datetime
    bot: str = ""

    def render(self) -> Sequence[Block]:
        """Say what to do with it."""
        whom = f"the bot {escape(self.bot)}" if self.bot else "the bot"
        text = (
            f"Your code is `{self.code}`. On Discord, send {whom} `/link {self.code}`"
            " within ten minutes. It works once."
        )
        return [Markdown(text=text)]


class Unlinked(Result):
    """What became of somebody's linked accounts."""

    accounts: int

    def render(self) -> Sequence[Block]:
        """Say how many there were."""
        said = "No Discord account was linked." if not self.accounts else "Unlinked."
        return [Markdown(text=said)]


class FoundPlace(Result):
    """A place on Discord that the bot may write to for somebody."""

    place: str
    """discord:me, or discord:SERVER/CHANNEL in ids."""
    name: str

    def render(self) -> Sequence[Block]:
        """Say where that is."""
        return [Markdown(text=f"{escape(self.name)} (`{self.place}`)")]
