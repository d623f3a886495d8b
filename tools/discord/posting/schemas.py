"""What the posting tools return."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel

from nebula.tool.render import as_text, escape
from nebula.tool.result import Block, Markdown, Result, Table


class Posted(Result):
    """A message on Discord."""

    channel: str
    message_id: str
    link: str = ""

    def render(self) -> Sequence[Block]:
        """Say where it stands."""
        return [Markdown(text=f"Posted in #{escape(self.channel)} `{self.message_id}`")]


class Scheduled(BaseModel):
    """A message that is posted later, or again and again."""

    id: str
    channel: str
    text: str
    when: str
    next_at: datetime | None = None


class ScheduledList(Result):
    """Messages that wait for their time."""

    messages: list[Scheduled]
    done: str = ""

    def render(self) -> Sequence[Block]:
        """Show a table."""
        head = [Markdown(text=escape(self.done))] if self.done else []
        if not self.messages:
            return head or [Markdown(text="No message is scheduled.")]
        rows = [
            [f"#{each.channel}", each.text, each.when, as_text(each.next_at), each.id]
            for each in self.messages
        ]
        columns = ["Channel", "Text", "When", "Next", "Id"]
        return [*head, Table(title="Scheduled messages", columns=columns, rows=rows)]


class Poll(Result):
    """A poll and how it stands."""

    id: str
    question: str
    answers: dict[str, int]
    """Answers and their votes."""
    ended: bool
    channel: str = ""

    def render(self) -> Sequence[Block]:
        """Show the votes."""
        state = "ended" if self.ended else "open"
        total = sum(self.answers.values())
        rows = [
            [answer, str(votes), f"{100 * votes / total:.0f} %" if total else "–"]
            for answer, votes in self.answers.items()
        ]
        title = f"{self.question} ({state}, {self.id})"
        return [Table(title=title, columns=["Answer", "Votes", "Share"], rows=rows)]
