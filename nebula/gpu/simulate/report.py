"""Figures of a run: makespan, loads, waits by class, utilisation, over-commit."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from nebula.gpu.simulate.bound import lower_bound
from nebula.gpu.simulate.history import History


class Waits(BaseModel):
    """How long the jobs of one class waited for their first start, in seconds."""

    model_config = ConfigDict(frozen=True)

    klass: str
    jobs: int
    p50: float
    p95: float
    longest: float


class RunReport(BaseModel):
    """What a policy made of a trace."""

    model_config = ConfigDict(frozen=True)

    policy: str
    jobs: int
    finished: int
    makespan: float
    lower_bound: float
    ratio: float
    """Makespan ÷ lower bound; 1 cannot be beaten."""
    loads: int
    evictions: int
    yields: int
    longest_wait: float
    waits: tuple[Waits, ...]
    utilization: float
    """Bytes × seconds of running work over those of all cards until the end."""
    by_card: dict[str, float]
    violations: tuple[str, ...]


def report(policy: str, history: History) -> RunReport:
    """Work out the figures of a run."""
    outcomes = list(history.outcomes.values())
    first = min((o.job.created for o in outcomes), default=0.0)
    last = max((o.ended for o in outcomes if o.ended is not None), default=first)
    makespan = last - first
    bound = lower_bound(history.trace)
    capacity = {c.id: c.capacity for c in history.trace.cards}
    spent = history.used_byte_seconds
    waited = [w for o in outcomes if (w := o.waited) is not None]
    finished = sum(o.ended is not None for o in outcomes)
    lost = () if finished == len(outcomes) else (f"{len(outcomes) - finished} jobs never ended",)
    return RunReport(
        policy=policy,
        jobs=len(outcomes),
        finished=finished,
        makespan=round(makespan, 3),
        lower_bound=round(bound, 3),
        ratio=round(makespan / bound, 4) if bound else 1.0,
        loads=history.loads,
        evictions=history.evictions,
        yields=sum(o.yielded for o in outcomes),
        longest_wait=round(max(waited, default=0.0), 3),
        waits=tuple(_waits(history)),
        utilization=_share(sum(spent.values()), makespan * sum(capacity.values())),
        by_card={c: _share(spent.get(c, 0.0), makespan * size) for c, size in capacity.items()},
        violations=(*history.violations, *lost),
    )


def _waits(history: History) -> list[Waits]:
    found = []
    for klass in ("chat", "image", "batch", "training"):
        waits = sorted(
            w
            for o in history.outcomes.values()
            if o.job.klass == klass and (w := o.waited) is not None
        )
        if waits:
            p50, p95 = quantile(waits, 0.5), quantile(waits, 0.95)
            found.append(
                Waits(klass=klass, jobs=len(waits), p50=p50, p95=p95, longest=round(waits[-1], 3))
            )
    return found


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which a share of ordered values lies (nearest rank)."""
    at = min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))
    return round(ordered[at], 3)


def _share(part: float, whole: float) -> float:
    return round(part / whole, 4) if whole else 0.0
