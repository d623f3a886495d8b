"""What the model tools return. Sizes in gigabytes; None = unknown, never 0."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, Field

from nebula.markup.words import counted
from nebula.policy.labels import Label
from nebula.tool.render import escape
from nebula.tool.result import Block, Markdown, Result, Table


def _gb(size: float | None) -> str:
    if size is None:
        return "unknown"
    if size < 0.005:
        return "under 10 MB"
    return f"{size:.1f} GB" if size >= 0.095 else f"{size * 1024:.0f} MB"


class ModelEntry(BaseModel):
    """A model that a service has."""

    name: str
    kind: str = Field(description="language, or the kind of file: checkpoints, loras, vae…")
    service: str
    node: str
    size_gb: float | None = None
    loaded: bool | None = Field(None, description="null: the service does not say")
    vram_gb: float | None = None
    vram_source: str = Field("", description="measured, loaded or budget")
    detail: str = ""
    partial: bool = Field(False, description="A download that broke off; it can go on")
    simulated: bool = False
    in_map: bool = Field(False, description="It is listed in the service map")


class ModelList(Result):
    """Every model of every service and node."""

    models: list[ModelEntry]
    notes: list[str] = Field(default_factory=list)

    def origin(self) -> Label:
        """Call names outside text unless the operator's own map holds every one of them."""
        return Label.SYSTEM if all(m.in_map for m in self.models) else Label.OUTSIDE

    def render(self) -> Sequence[Block]:
        """Show a sentence and one table."""
        count = sum(not m.partial for m in self.models)
        known = [m.size_gb for m in self.models if m.size_gb is not None]
        said = [f"{count} models" + (f", {_gb(sum(known))} on disk." if known else ".")]
        if any(m.partial for m in self.models):
            said.append("Some downloads broke off; asking for them again goes on.")
        if any(m.simulated for m in self.models):
            said.append("Those marked simulated are not real.")
        said += [escape(n if n.endswith(".") else f"{n}.") for n in self.notes]
        rows = [
            [m.name, m.kind, _gb(m.size_gb), f"{m.service} on {m.node}", _loaded(m), _vram(m)]
            for m in self.models
        ]
        columns = ["Model", "Kind", "Size", "Where", "Loaded", "VRAM"]
        blocks: list[Block] = [Markdown(text=" ".join(said))]
        return [*blocks, Table(title="Models", columns=columns, rows=rows)] if rows else blocks


def _loaded(model: ModelEntry) -> str:
    if model.partial:
        return "unfinished download"
    words = "unknown" if model.loaded is None else "yes" if model.loaded else "no"
    return f"{words} (simulated)" if model.simulated else words


def _vram(model: ModelEntry) -> str:
    if model.vram_gb is None:
        return "unknown"
    return f"{_gb(model.vram_gb)} ({model.vram_source})"


class FoundModel(BaseModel):
    """A model that a hub offers."""

    source: str
    id: str = Field(description="What models_show and models_download take")
    name: str
    creator: str = ""
    kind: str = ""
    base_model: str = ""
    downloads: int | None = None
    likes: int | None = None
    gated: bool = False
    nsfw: bool = False
    updated: datetime | None = None


class SearchReport(Result):
    """What the hubs found."""

    query: str
    found: list[FoundModel]
    notes: list[str] = Field(default_factory=list)

    def render(self) -> Sequence[Block]:
        """Show a sentence and a table."""
        lead = f"{counted(len(self.found), 'model')} for “{escape(self.query)}”."
        said = [lead if self.found else f"Nothing found for “{escape(self.query)}”."]
        said += [escape(note) for note in self.notes]
        rows = [
            [
                f"civitai:{m.id}" if m.source == "civitai" else m.id,
                m.name if m.name != m.id.rpartition("/")[2] else "",
                ", ".join(w for w in [m.kind, m.base_model] if w),
                "" if m.downloads is None else f"{m.downloads:,}",
                ", ".join(w for w, on in (("gated", m.gated), ("nsfw", m.nsfw)) if on),
            ]
            for m in self.found
        ]
        columns = ["Id", "Name", "Kind", "Downloads", "Notes"]
        blocks: list[Block] = [Markdown(text=" ".join(said))]
        return [*blocks, Table(title="Found", columns=columns, rows=rows)] if rows else blocks


class ModelFile(BaseModel):
    """A file of a model."""

    name: str
    size_gb: float | None = None
    kind: str = ""
    checksum: bool = Field(False, description="Whether a checksum is announced for it")
    note: str = ""


class ModelCard(Result):
    """One model: where it is from, what it is, its files."""

    source: str
    id: str
    name: str
    page: str = ""
    creator: str = ""
    kind: str = ""
    version: str = ""
    versions: list[str] = Field(default_factory=list)
    base_model: str = ""
    family: str = ""
    parameters: str = ""
    quantization: str = ""
    context_length: int | None = None
    capabilities: list[str] = Field(default_factory=list)
    license: str = ""
    trained_words: list[str] = Field(default_factory=list)
    tags: list[str] = Field(default_factory=list)
    gated: bool = False
    nsfw: bool = False
    downloads: int | None = None
    size_gb: float | None = None
    where: list[str] = Field(default_factory=list, description="Services that have it")
    files: list[ModelFile] = Field(default_factory=list)

    def render(self) -> Sequence[Block]:
        """Show the facts in one table and the files in another."""
        facts = [(name, value) for name, value in self._facts() if value]
        lead = f"**{escape(self.name or self.id)}** from {escape(self.source)}."
        if self.gated:
            lead += " Its licence must be accepted on its page before it can be fetched."
        blocks: list[Block] = [
            Markdown(text=lead),
            Table(columns=["What", "Value"], rows=[[n, v] for n, v in facts]),
        ]
        if self.files:
            rows = [[f.name, _gb(f.size_gb), f.kind, f.note] for f in self.files]
            blocks.append(Table(title="Files", columns=["File", "Size", "Kind", "Note"], rows=rows))
        return blocks

    def _facts(self) -> list[tuple[str, str]]:
        return [
            ("Id", self.id),
            ("Page", self.page),
            ("By", self.creator),
            ("Kind", self.kind),
            ("Version", self.version),
            ("Other versions", "; ".join(self.versions)),
            ("Base model", self.base_model),
            ("Family", self.family),
            ("Parameters", self.parameters),
            ("Quantization", self.quantization),
            ("Context", f"{self.context_length:,} tokens" if self.context_length else ""),
            ("Can", ", ".join(self.capabilities)),
            ("Licence", self.license),
            ("Words it knows", ", ".join(self.trained_words)),
            ("Tags", ", ".join(self.tags)),
            ("Not safe for work", "yes" if self.nsfw else ""),
            ("Downloads", f"{self.downloads:,}" if self.downloads is not None else ""),
            ("Size", _gb(self.size_gb) if self.size_gb is not None else ""),
            ("Where", ", ".join(self.where)),
        ]


class StoredFile(BaseModel):
    """A file that a download brought, or found there."""

    name: str
    path: str
    size_gb: float | None
    sha256: str = ""
    verified: bool
    already: bool = False
    resumed_gb: float = 0.0


class DownloadReport(Result):
    """What a download brought."""

    source: str
    model: str
    service: str
    node: str
    kind: str
    files: list[StoredFile] = Field(default_factory=list)
    size_gb: float | None = None
    seconds: float
    trained_words: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)

    def render(self) -> Sequence[Block]:
        """Tell it in sentences, with a table for several files."""
        name, place = escape(self.model), escape(f"{self.service} on {self.node}")
        if self.files and all(f.already for f in self.files):
            lead = f"**{name}** was there already at {place}; nothing was fetched."
        else:
            took = f" in {self.seconds:.0f} s" if self.seconds >= 1 else ""
            lead = f"**{name}** ({_gb(self.size_gb)}) is at {place} now{took}."
        said = [lead, *(escape(note) for note in self.notes)]
        if self.trained_words:
            said.append(f"Words it knows: {escape(', '.join(self.trained_words))}.")
        blocks: list[Block] = [Markdown(text=" ".join(said))]
        if self.files:
            rows = [[f.name, _gb(f.size_gb), _proof(f), f.path] for f in self.files]
            columns = ["File", "Size", "Checksum", "Path"]
            blocks.append(Table(columns=columns, rows=rows))
        return blocks


def _proof(file: StoredFile) -> str:
    return "verified" if file.verified else "none announced"


class DeleteReport(Result):
    """What was deleted."""

    model: str
    service: str
    node: str
    freed_gb: float | None = None
    unloaded: bool = False

    def render(self) -> Sequence[Block]:
        """Tell it in a sentence."""
        freed = f" {_gb(self.freed_gb)} came free." if self.freed_gb is not None else ""
        first = " It was unloaded first." if self.unloaded else ""
        said = f"Deleted **{escape(self.model)}** from {escape(f'{self.service} on {self.node}')}."
        return [Markdown(text=said + freed + first)]
