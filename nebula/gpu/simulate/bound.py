"""What no scheduler can beat: lower bounds on the time until everything is done.

Give each size of job a weight. A card can never hold more weight at once than its best filling,
so the weighted seconds of all jobs over the best fillings of all cards bound the time from below,
whatever the weights are (the dual of the fractional bin packing of Gilmore and Gomory, 1961).
Bytes as weights give the plain bound by volume; better weights are searched for.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nebula.gpu.simulate.trace import Trace, TraceJob

_UNITS = 192
"""Into how many units the largest card is cut; sizes are rounded down, so the bound holds."""
_STEPS = 400

Weights = Mapping[int, float]


def lower_bound(trace: Trace) -> float:
    """Return seconds from the first arrival before which the last job cannot have ended.

    The largest of each job by itself and, for each moment, what came after it packed as tightly
    as can be; what fits no card is left out. Loading is left out but for the first of each model: it may be there already.
    """
    largest = max(c.capacity for c in trace.cards)
    fitting = [j for j in trace.jobs if j.vram <= largest]
    jobs = sorted(fitting, key=lambda j: j.created)
    if not jobs:
        return 0.0
    first = jobs[0].created
    alone = max(j.created - first + _least(j) for j in jobs)
    weights = [_by_volume(jobs), _searched(trace, jobs)]
    packed = max(_after_each_moment(trace, jobs, w) for w in weights)
    return max(alone, packed)


def volume_bound(trace: Trace) -> float:
    """Return the plain bound: bytes × seconds of all jobs over the bytes of all cards."""
    area = sum(j.vram * j.run_seconds for j in trace.jobs)
    longest = max((j.run_seconds for j in trace.jobs), default=0.0)
    return max(longest, area / sum(c.capacity for c in trace.cards))


def _least(job: TraceJob) -> float:
    """Return the shortest that a job can take; its model may be loaded already if it stays."""
    return job.run_seconds + (0.0 if job.stays else job.load_seconds)


def _after_each_moment(trace: Trace, jobs: Sequence[TraceJob], weights: Weights) -> float:
    """Bound by the weighted seconds of what came at or after each arrival."""
    room = _best_fillings(trace, weights)
    best = weighted = 0.0
    for job in reversed(jobs):
        weighted += weights[job.vram] * _least(job)
        best = max(best, job.created - jobs[0].created + weighted / room)
    return best


def _by_volume(jobs: Sequence[TraceJob]) -> Weights:
    return {j.vram: float(j.vram) for j in jobs}


def _searched(trace: Trace, jobs: Sequence[TraceJob]) -> Weights:
    """Raise the weight of sizes that the best fillings leave out, and lower the others'.

    Multiplicative weights; the best of all steps is returned, and any step is a valid bound.
    """
    sizes = sorted({j.vram for j in jobs})
    wanted = np.array([sum(_least(j) for j in jobs if j.vram == size) for size in sizes])
    wanted = wanted / wanted.sum()
    weights = np.array(sizes, dtype=float) / max(sizes)
    best, found = 0.0, weights
    for step in range(_STEPS):
        held = np.zeros(len(sizes))
        room = 0.0
        for card in trace.cards:
            value, filling = _filling(trace, sizes, weights, card.capacity)
            held += filling
            room += value
        bound = float(wanted @ weights) / room
        if bound > best:
            best, found = bound, weights.copy()
        weights = weights * np.exp((wanted - held / held.sum()) * 0.5 / (1 + step / 40))
        weights = weights / weights.max()
    return dict(zip(sizes, found.tolist(), strict=True))


def _best_fillings(trace: Trace, weights: Weights) -> float:
    sizes = sorted(weights)
    values = np.array([weights[s] for s in sizes])
    return sum(_filling(trace, sizes, values, c.capacity)[0] for c in trace.cards)


def _filling(
    trace: Trace, sizes: Sequence[int], weights: NDArray[np.float64], capacity: int
) -> tuple[float, NDArray[np.float64]]:
    """Return the most weight that a card can hold at once, and how many of each size that is."""
    unit = max(c.capacity for c in trace.cards) // _UNITS
    units = [max(1, s // unit) for s in sizes]
    cells = capacity // unit
    value = [0.0] * (cells + 1)
    last = [-1] * (cells + 1)
    for room in range(1, cells + 1):
        value[room], last[room] = value[room - 1], -2
        for kind, size in enumerate(units):
            if sizes[kind] <= capacity and size <= room:
                better = value[room - size] + float(weights[kind])
                if better > value[room]:
                    value[room], last[room] = better, kind
    counts = np.zeros(len(sizes))
    room = cells
    while room > 0:
        if last[room] >= 0:
            counts[last[room]] += 1
            room -= units[last[room]]
        else:
            room -= 1
    return value[cells], counts
