"""What the notification tools take and return."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, Field

from nebula.policy.labels import Label
from nebula.tool.render import as_text, escape
from nebula.tool.result import Block, Markdown, Result, Table


class Level(StrEnum):
    """How urgent a message is; also decides its colour."""

    ALERT = "alert"
    WARNING = "warning"
    SUCCESS = "success"
    INFO = "info"


class Kind(StrEnum):
    """How a channel is reached."""

    DISCORD = "discord"
    EMAIL = "email"
    OTHER = "other"


class Outcome(StrEnum):
    """What became of a message: unknown means it may have arrived, so nobody sends it again."""

    SENT = "sent"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Message(BaseModel):
    """A message as it goes out."""

    title: str
    body: str
    level: Level
    fields: dict[str, str] = Field(default_factory=dict)
    text: str
    """The body with the fields written out, for channels without a place for them."""


class Delivery(BaseModel):
    """One channel's outcome."""

    channel: str
    outcome: Outcome
    detail: str = ""


class SendReport(Result):
    """Every channel's outcome."""

    title: str
    deliveries: list[Delivery]

    def origin(self) -> Label:
        """Call what a channel answered to a failed delivery outside text."""
        told = any(each.detail for each in self.deliveries)
        return Label.OUTSIDE if told else Label.SYSTEM

    def render(self) -> Sequence[Block]:
        """Show a mark, the channel and what happened."""
        marks = {Outcome.SENT: "✓ sent", Outcome.FAILED: "✗ failed", Outcome.UNKNOWN: "? unknown"}
        rows = [[each.channel, marks[each.outcome], each.detail] for each in self.deliveries]
        blocks: list[Block] = [
            Table(title=self.title, columns=["Channel", "Outcome", "Detail"], rows=rows)
        ]
        if any(each.outcome is Outcome.UNKNOWN for each in self.deliveries):
            note = "Unknown means that it may have arrived. Look there before sending it again."
            blocks.append(Markdown(text=note))
        return blocks


class Channel(BaseModel):
    """A configured channel; its address stays sealed."""

    name: str
    kind: Kind
    target: str = Field(description="Where it goes, with everything secret left out")
    enabled: bool
    last_outcome: Outcome | None = None
    last_used_at: datetime | None = None


class ChannelList(Result):
    """The configured channels."""

    channels: list[Channel]

    def render(self) -> Sequence[Block]:
        """Show a table, or how to make the first channel."""
        if not self.channels:
            return [
                Markdown(
                    text="No channel is configured. Add one with "
                    "`/notify_set_channel name=… address=…`: a Discord webhook URL, "
                    "`mailtos://user:password@host?to=…`, or any apprise URL."
                )
            ]
        rows = [
            [
                each.name,
                each.kind.value,
                each.target,
                as_text(each.enabled),
                each.last_outcome or "–",
                as_text(each.last_used_at),
            ]
            for each in self.channels
        ]
        columns = ["Name", "Kind", "Goes to", "Enabled", "Last outcome", "Last used"]
        return [Table(title="Channels", columns=columns, rows=rows)]


class ChannelChange(Result):
    """What was done to a channel."""

    name: str
    done: str

    def render(self) -> Sequence[Block]:
        """Say it in one sentence."""
        return [Markdown(text=f"The channel **{escape(self.name)}** {escape(self.done)}.")]


class TemplateEntry(BaseModel):
    """A template for messages."""

    name: str
    description: str
    custom: bool = Field(description="From the data folder, not built in")


class TemplateList(Result):
    """The templates there are."""

    templates: list[TemplateEntry]


class Preview(Result):
    """A message as a template makes it, sent nowhere."""

    template: str
    title: str
    body: str

    def render(self) -> Sequence[Block]:
        """Show the message as text."""
        lines = "\n".join(f"> {escape(line)}" for line in self.body.splitlines())
        return [Markdown(text=f"**{escape(self.title)}**\n\n{lines}")]
