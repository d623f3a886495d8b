"""What the backups tools return."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, Field

from nebula.policy.labels import Label
from nebula.tool.render import as_text, escape
from nebula.tool.result import Block, Markdown, Result, Table


class Backup(BaseModel):
    """A backup that lies in the folder."""

    name: str
    made_at: datetime
    age_hours: float
    size_mb: float
    whole: bool | None
    """Read from end to end just now; None when it was not looked at."""
    problem: str = ""


class BackupList(Result):
    """The backups there are, newest first."""

    folder: str
    backups: list[Backup]
    problem: str = Field(description="What is wrong in a sentence; empty when all is well")

    def origin(self) -> Label:
        """Call names of files outside text."""
        return Label.OUTSIDE if self.backups else Label.SYSTEM

    def render(self) -> Sequence[Block]:
        """Say first whether all is well."""
        blocks: list[Block] = [
            Markdown(text=escape(self.problem or "The newest backup is fresh and can be read."))
        ]
        if self.backups:
            rows = [
                [b.name, as_text(b.made_at), f"{b.age_hours:.1f} h", f"{b.size_mb:,.1f}", _state(b)]
                for b in self.backups
            ]
            columns = ["Backup", "Made", "Age", "MB", "State"]
            blocks.append(Table(title=self.folder, columns=columns, rows=rows))
        return blocks


def _state(backup: Backup) -> str:
    if backup.whole is None:
        return "not looked at"
    return "can be read" if backup.whole else backup.problem


class BackupMade(Result):
    """A backup that was made just now, and read again from end to end."""

    name: str
    folder: str
    same_disk: bool
    """It lies on the disk that the data folder is on."""
    made_at: datetime
    size_mb: float
    files: int
    with_key: bool
    removed: list[str]
    """Older ones that went, as JARVIS_BACKUPS_KEEP says."""

    def render(self) -> Sequence[Block]:
        """Say what it is, and how to treat it."""
        said = f"{self.name} holds the database and {self.files} files ({self.size_mb:,.1f} MB)."
        key = (
            "The key of stored secrets is in it: keep it private."
            if self.with_key
            else "The key of stored secrets is not in it: keep secrets.key elsewhere."
        )
        where = (
            f" It lies in {self.folder}, on the same disk as the data: copy it elsewhere, or set "
            "JARVIS_BACKUPS_FOLDER to another disk."
            if self.same_disk
            else f" It lies in {self.folder}."
        )
        gone = f" {len(self.removed)} older ones went." if self.removed else ""
        return [Markdown(text=escape(f"{said} {key}{where}{gone}"))]
