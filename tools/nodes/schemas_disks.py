"""What nodes_disks returns."""

from collections.abc import Sequence

from pydantic import BaseModel, Field

from nebula.policy.labels import Label
from nebula.services.sizes import GIB
from nebula.tool.render import escape
from nebula.tool.result import Block, Markdown, Result, Table

HERE = "this machine"


class DiskEntry(BaseModel):
    """A disk of a machine."""

    machine: str
    path: str
    total_gb: float
    free_gb: float
    free_percent: float

    @classmethod
    def of(cls, machine: str, path: str, total: int, free: int) -> "DiskEntry":
        """Take sizes in bytes."""
        return cls(
            machine=machine,
            path=path,
            total_gb=round(total / GIB, 1),
            free_gb=round(free / GIB, 1),
            free_percent=round(100 * free / total, 1) if total else 0.0,
        )

    @property
    def said(self) -> str:
        """Return it as a part of a sentence."""
        room = f"{self.free_gb:g} GB free of {self.total_gb:g} GB ({self.free_percent:g} %)"
        return f"{self.machine} {self.path}: {room}"


class DiskReport(Result):
    """How full the disks are."""

    disks: list[DiskEntry]
    low: list[DiskEntry]
    silent: list[str] = Field(description="Machines that are offline, of which nothing is known")
    summary: str
    """The disks with little room, for a message; empty when there are none."""

    def origin(self) -> Label:
        """Call the names and paths that machines told outside text."""
        told = self.silent or any(disk.machine != HERE for disk in self.disks)
        return Label.OUTSIDE if told else Label.SYSTEM

    def render(self) -> Sequence[Block]:
        """Show what is low first, then all of them."""
        said = f"Little room: {escape(self.summary)}" if self.low else "There is room everywhere."
        if self.silent:
            said += f" Offline, so not known: {escape(', '.join(self.silent))}."
        rows = [
            [d.machine, d.path, f"{d.free_gb:g}", f"{d.total_gb:g}", f"{d.free_percent:g} %"]
            for d in self.disks
        ]
        columns = ["Machine", "Path", "Free GB", "Total GB", "Free"]
        return [Markdown(text=said), Table(title="Disks", columns=columns, rows=rows)]
