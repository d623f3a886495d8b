"""What the policy reads and answers. Frozen; bytes; seconds on one clock; unknown is None, never 0."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

Key = tuple[str, str | None]
"""What must be loaded: (service, model)."""


class PriorityClass(IntEnum):
    """What kind of work asks; a higher one goes first until ageing makes up for it."""

    TRAINING = 0
    BATCH = 1
    IMAGE = 2
    CHAT = 3


@dataclass(frozen=True, slots=True)
class Card:
    """One graphics card; `capacity` is what may be used: its total less the node's reserve."""

    id: str
    """`node/index`."""
    node: str
    capacity: int | None
    healthy: bool = True
    draining: bool = False
    utilization: float | None = None
    """0..1."""
    foreign: int | None = 0
    """Bytes that programs which are not ours hold; None = they hold an unknown amount."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model on a card. While it is loading or leaving its memory counts in full."""

    id: str
    card: str
    service: str
    model: str | None
    vram: int | None
    state: Literal["loaded", "loading", "leaving"] = "loaded"
    leases: int = 0
    """How many use it now; what is in use is never evicted."""
    pinned: bool = False
    idle_seconds: float = 0.0
    reload_seconds: float = 0.0
    next_use: float = 1.0
    """The chance, 0..1, that it is wanted again soon."""
    parallel: int = 1
    """How many may use it at the same time."""
    since: float | None = None
    """When it came into this state, on the snapshot's clock; None = nobody knows."""

    @property
    def key(self) -> Key:
        """Return what it serves."""
        return self.service, self.model

    @property
    def label(self) -> str:
        """Return what a person calls it."""
        return self.model or self.service


@dataclass(frozen=True, slots=True)
class Running:
    """Work that holds a place on a card; `vram` counts only when it uses no `loaded` model."""

    id: str
    card: str
    klass: PriorityClass
    owner: str
    key: Key
    vram: int | None
    started: float
    expected_seconds: float | None
    """How long it takes in all, loading included."""
    yields: bool = False
    yielding: bool = False
    loaded: str | None = None


@dataclass(frozen=True, slots=True)
class Option:
    """One card on which a request could run, and what it takes there."""

    card: str
    vram: int | None
    load_seconds: float
    run_seconds: float
    parallel: int = 1
    """How many could share the model once it is loaded here."""
    holds: Literal["one", "models", "copies"] = "models"
    """What the service keeps on a card: one model at a time (ComfyUI), many but each once
    (Ollama), or a process of its own per load."""
    stays: bool = True
    """What is loaded stays after the work; False = the work takes its memory with it."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request for a place on a card."""

    id: str
    klass: PriorityClass
    owner: str
    created: float
    key: Key
    options: tuple[Option, ...]
    yields: bool = False
    priority: int = 0
    preferred_node: str | None = None

    @property
    def label(self) -> str:
        """Return what a person calls the work."""
        return self.key[1] or self.key[0]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the policy knows at one moment."""

    now: float
    cards: tuple[Card, ...] = ()
    loaded: tuple[Loaded, ...] = ()
    running: tuple[Running, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    usage: Mapping[str, float] = field(default_factory=dict)
    """GPU-seconds that each owner used lately."""


@dataclass(frozen=True, slots=True)
class Start:
    """Run a request now; there is room for it at this moment."""

    request: str
    card: str
    loaded: str | None
    """The model that is loaded already; None = it must be loaded."""
    vram: int
    """Bytes newly taken on the card: all of it when cold, what a loaded model grows by when warm."""
    reason: str


@dataclass(frozen=True, slots=True)
class Evict:
    """Unload a model that nobody uses, for a request that can start once the memory is free."""

    loaded: str
    for_request: str
    reason: str


@dataclass(frozen=True, slots=True)
class Yield:
    """Ask running work to save and release its card; it is asked for again by itself later."""

    running: str
    for_request: str
    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do for a request now, and why."""

    request: str
    reason: str
    expected_start: float | None = None
    """On the snapshot's clock; None = nobody can say."""


Decision = Start | Evict | Yield | Wait
