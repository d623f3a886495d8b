"""What the tools of a task for several agents return."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

from pydantic import BaseModel

from nebula.policy.labels import Label
from nebula.tool.render import escape
from nebula.tool.result import Block, Live, Markdown, Result, Table

Mode = Literal["together", "chain"]
BoardState = Literal["open", "done", "failed", "cancelled"]
_STATES = {
    "": "not begun",
    "queued": "starts soon",
    "running": "at work",
    "waiting": "waits for your decision",
    "done": "done",
    "failed": "failed",
    "stopped": "used up its limits",
    "cancelled": "stopped",
    "skipped": "not started",
    "late": "too late",
}


class Standing(Protocol):
    """An agent's name, and how its part stands."""

    agent: Any
    state: Any


def in_words(member: Standing) -> str:
    """Return how an agent's part stands, for a log."""
    return f"{member.agent} – {said_of(member.state)}"


def how_far(members: Sequence[Standing]) -> str:
    """Return in one line how far everybody is."""
    return " · ".join(f"{member.agent}: {said_of(member.state)}" for member in members)


def said_of(state: str) -> str:
    """Return a member's state in words."""
    return _STATES.get(state, state)


class Member(BaseModel):
    """One agent's part."""

    agent: str
    joins: bool
    """It does not work on the task itself, it joins the others' reports."""
    state: str
    run_id: str | None
    session_id: str | None
    report: str
    problem: str
    labels: list[Label]
    seconds: float
    tokens: int

    @property
    def said(self) -> str:
        """Return how it stands, in words."""
        return said_of(self.state)


class Board(Result):
    """The shared board of a task given to several agents: who is how far, and every report."""

    id: str
    job_id: str | None
    owner_name: str
    task: str
    mode: Mode
    at_least: int
    wait: bool
    state: BoardState
    outcome: str
    created_at: datetime
    deadline: datetime
    ended_at: datetime | None
    members: list[Member]

    @property
    def result(self) -> list[Member]:
        """Return whose reports are the answer: the joiner's, the chain's last, or all of them."""
        done = [member for member in self.members if member.state == "done"]
        joined = [member for member in done if member.joins]
        if joined:
            return joined
        return done[-1:] if self.mode == "chain" else done

    def render(self) -> Sequence[Block]:
        """Show the result, then a row for each agent; reports that are no result stay short."""
        how = "one after another" if self.mode == "chain" else "at the same time"
        said = (
            f"**{escape(self.task)}** ({how}, {self.at_least} have to succeed): **{self.state}**."
        )
        head = f"{said} {escape(self.outcome)}".strip()
        answers = self.result if self.state != "open" else []
        reports = [
            Markdown(text=f"### {escape(member.agent)}\n\n{escape(member.report)}")
            for member in answers
            if member.report
        ]
        rows = [_row(member) for member in self.members]
        columns = ["Agent", "State", "Took", "Tokens", "Said"]
        table = Table(title="Board", columns=columns, rows=rows)
        text = "\n\n".join([head, *(report.text for report in reports)])
        blocks: list[Block] = [Markdown(text=head), *reports, table]
        return [Live(view="board", of=self.id, text=text, blocks=blocks)]

    def origin(self) -> Label:
        """Return where its reports come from: outside, when any of them does."""
        outside = any(Label.OUTSIDE in member.labels for member in self.members)
        return Label.OUTSIDE if outside else Label.SYSTEM


class Stopped(Result):
    """What was stopped."""

    runs: int
    boards: int

    def render(self) -> Sequence[Block]:
        """Say how much that was."""
        if not self.runs and not self.boards:
            return [Markdown(text="Nothing of that goes on.")]
        of_boards = f" of {self.boards} boards" if self.boards else ""
        return [Markdown(text=f"{self.runs} runs{of_boards} are being stopped.")]


def _row(member: Member) -> list[str]:
    name = f"{member.agent} (joins)" if member.joins else member.agent
    said = " ".join((member.problem or member.report).split())
    short = said if len(said) <= 120 else f"{said[:119]}…"
    took = f"{member.seconds:.1f} s" if member.seconds else "–"
    return [name, member.said, took, f"{member.tokens:,}", short or "–"]
