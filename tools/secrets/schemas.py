"""What the tools say of secrets: names, versions and uses, never a value."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from nebula.secrets.secret import Secret, Use
from nebula.tool.render import escape
from nebula.tool.result import Block, Markdown, Result, Table

Standing = Literal["same", "different", "only in the first", "only in the second"]


class SecretList(Result):
    """The stored secrets."""

    secrets: list[Secret]

    def render(self) -> Sequence[Block]:
        """Show a table."""
        if not self.secrets:
            return [Markdown(text="No secret is stored yet.")]
        rows = [
            [
                s.reference,
                str(s.version),
                _when(s.set_at),
                s.set_by,
                ", ".join(s.features) or "administrators, by hand",
                s.note,
            ]
            for s in self.secrets
        ]
        names = ["reference", "version", "set", "by", "may be used by", "note"]
        return [Table(columns=names, rows=rows)]


class SecretChange(Result):
    """What became of one secret."""

    secret: Secret
    done: str
    next_step: str = ""

    def render(self) -> Sequence[Block]:
        """Say it in a sentence."""
        text = f"`{self.secret.reference}` {escape(self.done)}."
        return [Markdown(text=f"{text} {escape(self.next_step)}".strip())]


class UseSummary(BaseModel):
    """How often a tool was given a secret for somebody, and when last."""

    principal: str
    tool: str
    times: int
    last: datetime


class Rotation(Result):
    """A new version, and who used the one before."""

    secret: Secret
    generated: bool
    used_by: list[UseSummary]

    def render(self) -> Sequence[Block]:
        """Say what is new, and list who may still hold the old value."""
        made = " The value was made here." if self.generated else ""
        said = f"`{self.secret.reference}` is now version {self.secret.version}.{made}"
        if not self.used_by:
            return [Markdown(text=f"{said} The version before was never used.")]
        rows = [[u.principal, u.tool, str(u.times), _when(u.last)] for u in self.used_by]
        title = "Who used the version before"
        return [
            Markdown(text=said),
            Table(title=title, columns=["who", "tool", "times", "last"], rows=rows),
        ]


class Difference(BaseModel):
    """How one name stands in two places."""

    name: str
    standing: Standing


class Comparison(Result):
    """Two environments, or an environment and a file, beside each other."""

    first: str
    second: str
    names: list[Difference]

    def render(self) -> Sequence[Block]:
        """Show a table, differences first."""
        if not self.names:
            return [
                Markdown(text=f"Neither {escape(self.first)} nor {escape(self.second)} has any.")
            ]
        rows = [
            [
                each.name,
                each.standing.replace("the first", self.first).replace("the second", self.second),
            ]
            for each in sorted(self.names, key=lambda each: (each.standing == "same", each.name))
        ]
        title = f"{self.first} beside {self.second}"
        return [Table(title=title, columns=["name", "how it stands"], rows=rows)]


class Skipped(BaseModel):
    """A name of a file that was not stored, and why."""

    name: str
    why: str


class ImportReport(Result):
    """What of a file was stored."""

    path: str
    environment: str
    stored: list[str]
    skipped: list[Skipped]

    def render(self) -> Sequence[Block]:
        """List what was stored and what was not."""
        rows = [[name, "stored"] for name in self.stored]
        rows += [[each.name, f"left out: {each.why}"] for each in self.skipped]
        if not rows:
            return [Markdown(text="The file holds no values.")]
        title = f"{self.path} → {self.environment}"
        return [Table(title=title, columns=["name", "what happened"], rows=rows)]


class UseList(Result):
    """Who was given which secret when."""

    uses: list[Use]

    def render(self) -> Sequence[Block]:
        """Show a table."""
        if not self.uses:
            return [Markdown(text="No secret was used yet.")]
        rows = [
            [
                _when(u.at),
                f"{u.environment}/{u.name}",
                str(u.version),
                u.principal,
                u.tool,
                u.surface,
            ]
            for u in self.uses
        ]
        return [Table(columns=["when", "secret", "version", "who", "tool", "from"], rows=rows)]


def _when(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
