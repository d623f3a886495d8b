"""How fast workers look, and how long they wait."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """Times in seconds; tests and small labs may want others."""

    beat: float = 1.0
    """Between two signs of life of a worker."""
    stalled: float = 4.0
    """A worker that has given no sign of life for so long, and has no connection, is dead."""
    frozen: float = 20.0
    """The same, for one whose connections are there: it may be starved, or its machine asleep."""
    rowless: float = 2.0
    """How long a waiting job may be without a row in the queue."""
    retry: float = 1.0
    """The first wait between two attempts; it doubles with each."""
    last_word: float = 5.0
    """How long a run that was told to stop may take, before it is left behind."""
