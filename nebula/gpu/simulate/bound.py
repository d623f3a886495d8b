"""What no scheduler can beat: lower bounds on the time until everything is done."""

from collections.abc import Sequence
from itertools import pairwise

from nebula.gpu.simulate.trace import Trace, TraceJob


def lower_bound(trace: Trace) -> float:
    """Return seconds from the first arrival before which the last job cannot have ended.

    The largest of: each job by itself; the bytes × seconds of all that came after a moment over
    the bytes of the cards; the same for the jobs that fit only the larger cards; and the seconds
    of jobs that take more than half of every card they fit on, which run one at a time on each.
    Loading is left out except for the first of each model, so the bound holds for any policy.
    """
    jobs = sorted(trace.jobs, key=lambda j: j.created)
    if not jobs:
        return 0.0
    first = jobs[0].created
    alone = max(j.created - first + j.load_seconds * _cold_once(j) + j.run_seconds for j in jobs)
    moments = _moments(jobs)
    return max([alone, *(at - first + _packed(trace, at) for at in moments)])


def _cold_once(job: TraceJob) -> int:
    """Count a job's load only when it is certain: its model may be there already."""
    return 0 if job.stays else 1


def _moments(jobs: Sequence[TraceJob]) -> list[float]:
    """Return the arrival times, thinned out to about two hundred."""
    times = sorted({j.created for j in jobs})
    step = max(1, len(times) // 200)
    return times[::step]


def _packed(trace: Trace, since: float) -> float:
    """Return the least seconds that what came since then takes on all cards."""
    jobs = [j for j in trace.jobs if j.created >= since]
    sizes = sorted({c.capacity for c in trace.cards})
    best = 0.0
    for smaller in [0, *sizes[:-1]]:
        # What is larger than this card must share the cards that are larger.
        big = [j for j in jobs if j.vram > smaller]
        room = sum(c.capacity for c in trace.cards if c.capacity > smaller)
        area = sum(j.vram * j.run_seconds for j in big)
        best = max(best, area / room)
    return max(best, _one_at_a_time(trace, jobs))


def _one_at_a_time(trace: Trace, jobs: Sequence[TraceJob]) -> float:
    """Bound by counting: of jobs larger than a threshold, a card holds only so many at once."""
    best = 0.0
    thresholds = sorted({j.vram for j in jobs})
    for least, _ in pairwise([*thresholds, 0]):
        seconds = sum(j.run_seconds for j in jobs if j.vram >= least)
        slots = sum(c.capacity // least for c in trace.cards)
        best = max(best, seconds / slots) if slots else best
    return best
