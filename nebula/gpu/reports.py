"""What the broker's changes did, and how long each of their phases may take."""

from dataclasses import dataclass

from nebula.gpu.plans import Eviction, SwitchPlan
from nebula.services.map import Target


@dataclass(frozen=True)
class Limits:
    """How long each phase of a change may take, in seconds."""

    lock: float = 60.0
    busy: float = 60.0
    freed: float = 20.0
    load: float = 180.0
    poll: float = 0.5


@dataclass(frozen=True)
class Evicted:
    """One model that was unloaded, why, and the seconds until its service had dropped it."""

    eviction: Eviction
    seconds: float


@dataclass(frozen=True)
class Switched:
    """What a switch or load did; sizes in bytes."""

    plan: SwitchPlan
    evicted: tuple[Evicted, ...]
    loaded: str
    load_seconds: float
    seconds: float
    free: int | None


@dataclass(frozen=True)
class Unloaded:
    """What an unload did; sizes in bytes."""

    targets: tuple[Target, ...]
    node: str
    freed: int | None
    free: int | None
    seconds: float
    simulated: bool
