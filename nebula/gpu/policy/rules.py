"""The policy's figures. Tuned on seeds that the benchmark does not report."""

from dataclasses import dataclass
from math import inf
from typing import NamedTuple


class ByClass(NamedTuple):
    """A figure for each priority class; a `PriorityClass` is its index."""

    training: float
    batch: float
    image: float
    chat: float


_AGEING = ByClass(chat=0, image=900, batch=3600, training=7200)
_AFFINITY = ByClass(chat=20, image=120, batch=1200, training=1200)
_FAIR_SHARE_MOST = ByClass(chat=30, image=120, batch=600, training=600)
_SHORTEST_FIRST = ByClass(chat=2, image=2, batch=0, training=0)
_PREEMPT_AFTER = ByClass(chat=15, image=60, batch=inf, training=inf)
_LOAD_WEIGHT = ByClass(chat=2, image=3, batch=3, training=3)


@dataclass(frozen=True, slots=True)
class Rules:
    """Every figure that may be tuned; seconds unless it says otherwise."""

    ageing: ByClass = _AGEING
    """How long a request waits until it ranks level with a fresh chat."""
    affinity: ByClass = _AFFINITY
    """How much older a request may be that is overtaken because a later one's model is loaded."""
    alike: float = 15.0
    """Requests whose ranks differ by less are level; what packs best decides among them."""
    starvation: float = 14_400.0
    """Nobody is overtaken by a request that came this much later, whatever its class."""
    fair_share: float = 0.5
    """Seconds of delay for each GPU-second used more than the owner who used least."""
    fair_share_most: ByClass = _FAIR_SHARE_MOST
    """Where that delay ends: what a person waits for is hardly put off by what was used before."""
    shortest_first: ByClass = _SHORTEST_FIRST
    """Seconds of delay for each second that work takes; 0 = of level work the longest goes first."""
    priority_step: float = 60.0
    """Head start for each point of a request's priority."""
    backfill_slack: float = 0.1
    """What runs before a reservation must be expected to end this share of its time early."""
    load_weight: ByClass = _LOAD_WEIGHT
    """How many seconds of waiting a second of loading is worth: what is patient waits for a copy."""
    utilization_weight: float = 0.3
    """Share of the run time by which a card that is fully busy is taken to slow work down."""
    preferred_node: float = 30.0
    """Seconds of waiting that the preferred node is worth."""
    preempt_after: ByClass = _PREEMPT_AFTER
    """What running work may be asked to yield for: a wait that is longer than this otherwise."""
    yield_quantum: float = 120.0
    """Work that has just started is left alone this long, so that it gets somewhere."""
    yield_seconds: float = 20.0
    """How long saving and releasing is expected to take."""
    leave_seconds: float = 1.0
    """How long unloading is expected to take."""
    unknown_seconds: float = 300.0
    """How long work is expected to take when nobody knows."""
    overrun: float = 0.1
    """Work that is late is expected to need this share of its time more."""
