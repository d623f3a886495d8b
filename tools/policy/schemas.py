"""What the policy tools answer."""

from datetime import datetime

from pydantic import BaseModel

from nebula.policy.ask import Level, Verdict
from nebula.tool.grants import StandingGrant
from nebula.tool.render import escape
from nebula.tool.result import Block, Markdown, Result, Table
from nebula.tool.vouching.store import Endorsement


class Answer(BaseModel):
    """What the policy says to one role, at one door, in one case."""

    role: str
    surface: str
    case: str
    verdict: Verdict
    rule: str
    reason: str


class Explanation(Result):
    """What the policy says of a tool."""

    tool: str
    effect: str
    permission: str
    level: Level
    mine: Answer
    answers: list[Answer]

    def render(self) -> list[Block]:
        """Show the answer for whoever asks first, then the others."""
        mine = self.mine
        said = f"**{self.tool}**, here and now: **{mine.verdict.value}**. {mine.reason}"
        columns = ["role", "door", "who chooses", "verdict", "rule", "why"]
        rows = [
            [a.role, a.surface, a.case, a.verdict.value, a.rule, a.reason] for a in self.answers
        ]
        return [Markdown(text=said), Table(columns=columns, rows=rows)]


class LimitUse(BaseModel):
    """One of the day's limits, and what the asker has used of it."""

    limit: str
    calls: int
    per_day: int | None
    money: str
    money_per_day: str | None


class PolicyStatus(Result):
    """The rules in force."""

    paused: str | None
    version: str
    problems: list[str]
    limits: list[LimitUse]

    def render(self) -> list[Block]:
        """Show the switch, mistakes in the rules, and the day's limits."""
        state = f"Everything is paused: {self.paused}." if self.paused else "Nothing is paused."
        mistakes = "".join(f"\n- not taken: {problem}" for problem in self.problems)
        blocks: list[Block] = [Markdown(text=f"{state} Policy {self.version}.{mistakes}")]
        if self.limits:
            columns = ["limit", "calls today", "of", "spent", "of "]
            rows = [
                [
                    each.limit,
                    str(each.calls),
                    "" if each.per_day is None else str(each.per_day),
                    each.money,
                    each.money_per_day or "",
                ]
                for each in self.limits
            ]
            blocks.append(Table(columns=columns, rows=rows))
        return blocks


class Endorsed(Result):
    """A value that one call may use."""

    endorsement: Endorsement

    def render(self) -> list[Block]:
        """Say what may happen once, and until when."""
        made = self.endorsement
        until = f"{made.expires_at:%H:%M}"
        said = f"{escape(made.tool)} may use {escape(made.selector)} = {escape(str(made.value))}"
        return [Markdown(text=f"{said} once in this conversation, until {until} UTC.")]


class Switched(Result):
    """The kill switch after it was moved."""

    paused: bool
    reason: str = ""
    by: str = ""
    since: datetime | None = None

    def render(self) -> list[Block]:
        """Say what holds now."""
        if self.paused:
            because = f" ({self.reason})" if self.reason else ""
            return [
                Markdown(
                    text=f"Paused by {self.by}{because}. Nothing changes anything until somebody "
                    "with the right resumes it; looking works."
                )
            ]
        return [Markdown(text="Going on: what changes something may run again.")]


class GrantList(Result):
    """Standing grants, and offers of them."""

    grants: list[StandingGrant]

    def render(self) -> list[Block]:
        """Show a table, or that there are none."""
        if not self.grants:
            return [Markdown(text="There are no standing grants: a person is asked each time.")]
        columns = ["id", "tool", "with", "whose", "state", "until", "runs", "why it ended"]
        return [Table(columns=columns, rows=[_row(each) for each in self.grants])]


class GrantChange(Result):
    """A standing grant after somebody's word about it."""

    grant: StandingGrant

    def render(self) -> list[Block]:
        """Say what holds now."""
        grant = self.grant
        what = f"{escape(grant.tool)} with {escape(grant.said)} for {escape(grant.principal_name)}"
        if grant.state == "active" and grant.expires_at is not None:
            return [
                Markdown(text=f"Runs without asking until {grant.expires_at:%Y-%m-%d}: {what}.")
            ]
        return [
            Markdown(text=f"A person is asked each time: {what}. {escape(grant.ended_because)}")
        ]


def _row(grant: StandingGrant) -> list[str]:
    until = "" if grant.expires_at is None else f"{grant.expires_at:%Y-%m-%d}"
    who, because = grant.principal_name, grant.ended_because
    return [
        grant.id,
        grant.tool,
        grant.said,
        who,
        grant.state,
        until,
        str(grant.uses),
        because,
    ]
