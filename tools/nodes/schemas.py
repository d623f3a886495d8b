"""What the node tools return."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from nebula.services.sizes import GIB, gigabytes
from nebula.tool.render import escape
from nebula.tool.result import Block, Markdown, Result, ShownOnce, Table


class CardEntry(BaseModel):
    """A card of a machine."""

    index: int
    name: str | None = None
    vendor: str
    vram_gb: float | None = None
    vram_used_gb: float | None = None
    utilization: float | None = None


class NodeEntry(BaseModel):
    """A machine in the list."""

    name: str
    health: str
    joined: bool = Field(description="False for a node that only stands in the service map")
    address: str
    silent_seconds: float | None = None
    cards: list[CardEntry] = Field(default_factory=list)
    tasks: int = 0


class NodeList(Result):
    """Every machine."""

    nodes: list[NodeEntry]

    def render(self) -> Sequence[Block]:
        """Show a sentence and a table."""
        joined = [n for n in self.nodes if n.joined]
        online = sum(n.health == "online" for n in joined)
        said = f"{online} of {len(joined)} joined machines are online."
        if not joined:
            said = "No other machine joined yet. `/nodes_bootstrap` makes a script that adds one."
        rows = [[n.name, n.health, n.address, _cards(n.cards), str(n.tasks)] for n in self.nodes]
        columns = ["Machine", "Health", "Address", "Cards", "Tasks"]
        return [Markdown(text=said), Table(title="Machines", columns=columns, rows=rows)]


class TaskEntry(BaseModel):
    """A task of a machine."""

    id: str
    command: str
    state: str
    gpu: int | None = None
    exit_code: int | None = None
    reason: str = ""


class ServiceLine(BaseModel):
    """A service that a machine's agent looks after."""

    name: str
    state: str
    port: int | None = None
    restarts: int = 0
    reason: str = ""


class HardwareReport(Result):
    """What a machine is made of."""

    node: str
    hostname: str
    os: str
    cpu: str
    cores: int | None = None
    ram_gb: float | None = None
    disk_free_gb: float | None = None
    disk_total_gb: float | None = None
    cards: list[CardEntry] = Field(default_factory=list)
    driver: str | None = None
    cuda: str | None = None
    rocm: str | None = None
    tailscale: str | None = None
    mac: str | None = None
    python: str = ""
    notes: list[str] = Field(default_factory=list)

    def render(self) -> Sequence[Block]:
        """Show a table of what is known."""
        facts = [
            ("Host name", self.hostname),
            ("System", self.os),
            ("Processor", f"{self.cpu} ({self.cores or '?'} cores)"),
            ("Memory", _gb(self.ram_gb)),
            ("Disk", f"{_gb(self.disk_free_gb)} free of {_gb(self.disk_total_gb)}"),
            *((f"Card {c.index}", f"{c.name or c.vendor}, {_gb(c.vram_gb)}") for c in self.cards),
            ("Driver", self.driver or ""),
            ("CUDA", self.cuda or ""),
            ("ROCm", self.rocm or ""),
            ("Tailscale", self.tailscale or ""),
            ("MAC", self.mac or ""),
        ]
        rows = [[name, value] for name, value in facts if value]
        blocks: list[Block] = [Table(title=f"{self.node}", columns=["What", "Is"], rows=rows)]
        if not self.cards:
            blocks.append(Markdown(text="It has no graphics card that can be read."))
        return blocks + [Markdown(text=escape(note)) for note in self.notes]


class NodeReport(Result):
    """One machine: hardware, use, tasks and services."""

    name: str
    health: str
    address: str
    silent_seconds: float | None
    joined_at: datetime
    hardware: HardwareReport
    cpu: float | None = None
    ram_used_gb: float | None = None
    cards: list[CardEntry]
    tasks: list[TaskEntry]
    services: list[ServiceLine]
    found: list[str] = Field(description="AI services that answer there")
    commands: list[str] = Field(description="What its owner allows to be run")
    recipes: list[str] = Field(description="What can be installed there")

    def render(self) -> Sequence[Block]:
        """Show a paragraph, then hardware, services and tasks."""
        heard = "never" if self.silent_seconds is None else f"{self.silent_seconds:.1f} s ago"
        use = "" if self.cpu is None else f" Processor {self.cpu:.0%}."
        said = [f"**{escape(self.name)}** is {self.health} (heard {heard}).{use}"]
        if self.found:
            said.append("Found there: " + ", ".join(escape(f) for f in self.found) + ".")
        if self.commands:
            said.append("Allowed commands: " + ", ".join(escape(c) for c in self.commands) + ".")
        blocks: list[Block] = [Markdown(text="\n\n".join(said)), *self.hardware.render()]
        if self.services:
            rows = [[s.name, s.state, str(s.port or ""), s.reason] for s in self.services]
            columns = ["Service", "State", "Port", "Why"]
            blocks.append(Table(title="Services", columns=columns, rows=rows))
        if self.tasks:
            rows = [[t.id, t.command, t.state, t.reason] for t in self.tasks]
            columns = ["Task", "Command", "State", "Why"]
            blocks.append(Table(title="Tasks", columns=columns, rows=rows))
        return blocks


class CommandDone(Result):
    """A command that ran on a machine."""

    node: str
    command: str
    exit_code: int
    seconds: float
    lines: list[str] = Field(description="The end of what it printed")

    def render(self) -> Sequence[Block]:
        """Show a sentence and the end of the output."""
        said = (
            f"`{escape(self.command)}` on **{escape(self.node)}** ended with the code "
            f"{self.exit_code} after {self.seconds:.1f} s."
        )
        shown = "\n".join(f"    {escape(line)}" for line in self.lines)
        return [Markdown(text=f"{said}\n\n{shown}" if shown else said)]


class BootstrapScript(Result):
    """A script to paste on the machine that is to join."""

    system: str
    script: Annotated[str, ShownOnce("Ask for a new script: it gets a token of its own.")]
    expires_at: datetime
    note: str = ""

    def render(self) -> Sequence[Block]:
        """Show where to paste it, and the script as a block that can be copied."""
        where = "a terminal" if self.system == "linux" else "PowerShell"
        said = (
            f"Paste this into {where} on the machine that is to join. It works once, until "
            f"{self.expires_at:%H:%M} UTC; treat it like a password. The machine appears in "
            "`nodes_list` by itself."
        )
        if self.note:
            said = f"{escape(self.note)}\n\n{said}"
        language = "bash" if self.system == "linux" else "powershell"
        return [Markdown(text=said), Markdown(text=f"```{language}\n{self.script.rstrip()}\n```")]


class Woken(Result):
    """A machine that was sent a packet to wake it."""

    node: str
    mac: str
    through: list[str]

    def render(self) -> Sequence[Block]:
        """Say who sent the packet."""
        who = ", ".join(escape(t) for t in self.through)
        said = f"Sent **{escape(self.node)}** a packet to wake it ({self.mac}), from {who}."
        return [Markdown(text=f"{said} Nothing answers such a packet: watch `nodes_list`.")]


def _gb(size: float | None) -> str:
    return "?" if size is None else f"{size:g} GB"


def _cards(cards: Sequence[CardEntry]) -> str:
    return ", ".join(f"{c.name or c.vendor} ({_gb(c.vram_gb)})" for c in cards) or "–"


def in_gb(size: int | None) -> float | None:
    """Return bytes as gigabytes, whole when it is about whole."""
    if size is None:
        return None
    exact = size / GIB
    return float(round(exact)) if abs(exact - round(exact)) < 0.05 else gigabytes(size)
