"""What the GPU tools return. Sizes in gigabytes; None = unknown, never 0."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field

from nebula.tool.render import escape
from nebula.tool.result import Block, Markdown, Plot, Table
from tools.gpu.queue import GpuQueue, Told

UNKNOWN = "unknown"


class Loaded(BaseModel):
    """A model on a card."""

    service: str
    model: str | None = None
    vram_gb: float | None = None
    busy: bool | None = None
    pinned: bool = False


class Foreign(BaseModel):
    """A program on a card that is not ours; it is never touched."""

    pid: int
    name: str | None = None
    vram_gb: float | None = None


class Card(BaseModel):
    """One graphics card."""

    node: str
    index: int
    name: str | None = None
    simulated: bool = False
    vram_total_gb: float | None = None
    vram_used_gb: float | None = None
    vram_free_gb: float | None = None
    utilization: float | None = Field(None, description="0..1")
    temperature_c: float | None = None
    power_w: float | None = None
    source: str = Field(description="Who gave the figures: nvml, service, map or simulated")
    loaded: list[Loaded] = Field(default_factory=list)
    foreign: list[Foreign] = Field(default_factory=list)

    @property
    def title(self) -> str:
        """Return the card's name for people; a simulated one says so."""
        name = self.name or f"card {self.index}"
        marked = (
            name if not self.simulated or "simulated" in name.lower() else f"{name} (simulated)"
        )
        return f"{self.node}: {marked}"


class GpuServiceState(BaseModel):
    """A GPU service, as it answered just now."""

    name: str
    node: str
    up: bool | None
    reason: str = ""
    simulated: bool = False


class GpuStatus(Told):
    """What is on every card."""

    gpus: list[Card]
    services: list[GpuServiceState]
    notes: list[str] = Field(default_factory=list)
    queue: GpuQueue = Field(default_factory=GpuQueue)

    def render(self) -> Sequence[Block]:
        """Show a sentence, a table, and a bar per card."""
        blocks: list[Block] = [Markdown(text=" ".join([self._headline(), *self._notes()]))]
        if self.gpus:
            blocks.append(self._table())
        sized = [c for c in self.gpus if c.vram_total_gb is not None]
        if sized:
            blocks.append(Plot(title="VRAM in GB", figure=vram_figure(sized)))
        return [*blocks, *self.queue.blocks()]

    def _headline(self) -> str:
        if not self.gpus:
            return "No graphics card is known."
        words = []
        for card in self.gpus:
            title = escape(card.title)
            if card.vram_free_gb is None:
                words.append(f"**{title}**: how much VRAM is free is not known.")
            else:
                words.append(
                    f"**{title}**: {card.vram_free_gb:.1f} of {_gb(card.vram_total_gb)} are free."
                )
        return " ".join(words)

    def _notes(self) -> list[str]:
        said = [_sentence(escape(note)) for note in self.notes]
        down = [s.name for s in self.services if s.up is False]
        return [*said, f"Not answering: {', '.join(down)}."] if down else said

    def _table(self) -> Table:
        rows: list[list[str]] = []
        for card in self.gpus:
            here = [card.title] if len(self.gpus) > 1 else []
            rows += [[*here, m.model or m.service, _gb(m.vram_gb), _state(m)] for m in card.loaded]
            rows += [
                [*here, p.name or f"process {p.pid}", _gb(p.vram_gb), "another program"]
                for p in card.foreign
            ]
            rows.append([*here, "free", _gb(card.vram_free_gb), f"of {_gb(card.vram_total_gb)}"])
        columns = ["On the card", "VRAM", "State"]
        if len(self.gpus) > 1:
            return Table(title="GPUs", columns=["Card", *columns], rows=rows)
        return Table(title=self.gpus[0].title, columns=columns, rows=rows)


def _state(model: Loaded) -> str:
    words = ["working" if model.busy else "idle" if model.busy is False else "loaded"]
    return ", ".join([*words, *(["pinned"] if model.pinned else [])])


def _gb(size: float | None) -> str:
    return UNKNOWN if size is None else f"{size:.1f} GB"


def vram_figure(cards: Sequence[Card]) -> dict[str, Any]:
    """Return a Plotly figure: per card one bar, stacked from what is on it."""
    labels = [c.title for c in cards]
    parts: dict[str, list[float]] = {}

    def add(name: str, column: int, size: float) -> None:
        parts.setdefault(name, [0.0] * len(cards))[column] += round(max(0.0, size), 2)

    for column, card in enumerate(cards):
        known = 0.0
        for model in card.loaded:
            add(model.model or model.service, column, model.vram_gb or 0.0)
            known += model.vram_gb or 0.0
        if card.vram_used_gb is not None:
            add("other programs", column, card.vram_used_gb - known)
        add("free", column, (card.vram_free_gb or 0.0))
    ordered = sorted(parts, key=lambda n: (n == "free", n == "other programs", n))
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "name": name,
                "y": labels,
                "x": parts[name],
                "hovertemplate": "%{x:.1f} GB<extra>%{fullData.name}</extra>",
                **({"marker": {"color": "rgba(128,128,128,0.25)"}} if name == "free" else {}),
            }
            for name in ordered
        ],
        "layout": {
            "barmode": "stack",
            "height": 170 + 50 * len(cards),
            "xaxis": {"ticksuffix": " GB", "rangemode": "tozero"},
            # One card is named above the plot; on a phone its name would take half the width.
            "yaxis": {"automargin": True, "showticklabels": len(cards) > 1},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
        },
    }


class PlannedEviction(BaseModel):
    """A model that would be unloaded, and why."""

    service: str
    model: str | None = None
    frees_gb: float | None = None
    reload_seconds: float
    why: str


class PlanReport(Told):
    """What a switch would do."""

    service: str
    model: str | None = None
    node: str
    card: str | None = None
    simulated: bool = False
    fits: bool
    already_loaded: bool = False
    needed_gb: float | None = None
    free_gb: float | None = None
    free_after_gb: float | None = None
    evicts: list[PlannedEviction] = Field(default_factory=list)
    stays: list[str] = Field(default_factory=list)
    waits_for: list[str] = Field(default_factory=list)
    explanation: str
    hint: str = ""

    def render(self) -> Sequence[Block]:
        """Show the decision as sentences, and the evictions as a table."""
        name = f"**{escape(self.model or self.service)}**"
        if not self.fits:
            lead = (
                f"{name} does not fit."
                if self.needed_gb is not None
                else f"{name} cannot be served."
            )
        elif self.already_loaded:
            lead = f"{name} is loaded already; nothing would change."
        elif self.evicts:
            lead = f"{name} fits after unloading {len(self.evicts)}."
        else:
            lead = f"{name} fits beside what is loaded; nothing would be unloaded."
        stays = f"Stays loaded: {', '.join(self.stays)}." if self.stays and self.fits else ""
        said = [lead, escape(_sentence(self.explanation)), escape(self.hint), escape(stays)]
        if self.simulated:
            said.append("This card is simulated.")
        blocks: list[Block] = [Markdown(text=" ".join(s for s in said if s))]
        if self.evicts:
            rows = [
                [e.model or e.service, _gb(e.frees_gb), f"{e.reload_seconds:.0f} s", e.why]
                for e in self.evicts
            ]
            columns = ["Would be unloaded", "Frees", "Reload", "Why"]
            blocks.append(Table(columns=columns, rows=rows))
        return blocks


def _sentence(text: str) -> str:
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."


class EvictedModel(BaseModel):
    """A model that was unloaded, and why."""

    service: str
    model: str | None = None
    freed_gb: float | None = None
    seconds: float
    why: str


class SwitchReport(Told):
    """What a switch or load did."""

    service: str
    model: str | None = None
    node: str
    card: str | None = None
    simulated: bool = False
    already_loaded: bool = False
    evicted: list[EvictedModel] = Field(default_factory=list)
    outcome: str
    free_gb: float | None = None
    load_seconds: float
    seconds: float

    def render(self) -> Sequence[Block]:
        """Tell the switch in sentences."""
        name = escape(self.model or self.service)
        place = escape(f"{self.card or 'the GPU'} of {self.node}")
        if self.simulated and "simulated" not in place.lower():
            place += " (simulated)"
        if self.already_loaded:
            lead = f"**{name}** was loaded already on {place}; nothing changed."
        else:
            lead = (
                f"**{name}** now has {place}, after {self.seconds:.1f} s: {escape(self.outcome)}."
            )
        gone = [
            f"Unloaded {escape(e.model or e.service)} in {e.seconds:.1f} s, because "
            f"{escape(_sentence(e.why))}"
            for e in self.evicted
        ]
        kept = "" if self.evicted or self.already_loaded else "Nothing had to be unloaded."
        free = f"{self.free_gb:.1f} GB are free." if self.free_gb is not None else ""
        note = "This card is simulated: nothing real was moved." if self.simulated else ""
        return [Markdown(text=" ".join(s for s in [lead, *gone, kept, free, note] if s))]


class UnloadReport(Told):
    """What an unload did."""

    unloaded: list[str]
    node: str
    simulated: bool = False
    freed_gb: float | None = None
    free_gb: float | None = None
    seconds: float

    def render(self) -> Sequence[Block]:
        """Tell the unload in sentences."""
        names = escape(", ".join(self.unloaded))
        said = [f"Unloaded **{names}** from {escape(self.node)} in {self.seconds:.1f} s."]
        if self.freed_gb is not None:
            said.append(f"{self.freed_gb:.1f} GB came free.")
        if self.free_gb is not None:
            said.append(f"{self.free_gb:.1f} GB are free now.")
        if self.simulated:
            said.append("This card is simulated: nothing real was moved.")
        return [Markdown(text=" ".join(said))]
