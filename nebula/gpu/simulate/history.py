"""What happened in a simulated run."""

from dataclasses import dataclass, field

from nebula.gpu.simulate.trace import Trace, TraceJob


@dataclass
class Outcome:
    """What happened to one job."""

    job: TraceJob
    started: float | None = None
    ended: float | None = None
    card: str = ""
    loads: int = 0
    yielded: int = 0
    remaining: float = 0.0

    @property
    def waited(self) -> float | None:
        """Return the seconds from asking to its first start."""
        return None if self.started is None else self.started - self.job.created


@dataclass
class Stretch:
    """One piece of a card's work, for the plot."""

    card: str
    label: str
    klass: str
    start: float
    end: float
    vram: int


@dataclass
class History:
    """Everything that happened in a run."""

    trace: Trace
    outcomes: dict[str, Outcome]
    stretches: list[Stretch] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    loads: int = 0
    evictions: int = 0
    rounds: int = 0
    used_byte_seconds: dict[str, float] = field(default_factory=dict)
    """Bytes in use by running work × seconds, per card."""
