"""Who is first: one virtual time for classes, ageing, fair share, priority and warm models.

A request ranks by its creation plus an offset that never spans more than `Rules.starvation`, so
that nobody can be overtaken by what came that much later: waiting is bounded.
"""

from collections.abc import Collection, Mapping, Sequence

from nebula.gpu.policy.rules import Rules
from nebula.gpu.policy.types import Key, Snapshot, Waiting


def in_order(snapshot: Snapshot, rules: Rules, warm: Collection[Key]) -> list[Waiting]:
    """Return the requests, first first; `warm` names the models that are on a usable card."""
    shares = _delays(snapshot, rules)
    work = _work_of_models(snapshot.waiting)
    return sorted(
        snapshot.waiting,
        key=lambda r: (
            virtual_time(r, rules, shares.get(r.owner, 0.0), warm=r.key in warm),
            # Among equals: long work first packs best, a model's work stays together.
            -work[r.key],
            r.key[0],
            r.key[1] or "",
            -_longest(r),
            r.created,
            r.id,
        ),
    )


def virtual_time(request: Waiting, rules: Rules, delay: float, *, warm: bool) -> float:
    """Return a request's place on the line of time by which the queue is ordered."""
    offset = rules.ageing[request.klass] + delay - request.priority * rules.priority_step
    if warm:
        offset -= rules.affinity[request.klass]
    half = rules.starvation / 2
    return request.created + min(half, max(-half, offset))


def _delays(snapshot: Snapshot, rules: Rules) -> Mapping[str, float]:
    """Return how much later owners rank that used more than the one who used least."""
    used = {r.owner: snapshot.usage.get(r.owner, 0.0) for r in snapshot.waiting}
    least = min(used.values(), default=0.0)
    most = rules.fair_share_most
    return {o: min(most, (u - least) * rules.fair_share) for o, u in used.items()}


def _longest(request: Waiting) -> float:
    return max((o.run_seconds for o in request.options), default=0.0)


def _work_of_models(waiting: Sequence[Waiting]) -> Mapping[Key, float]:
    total: dict[Key, float] = {}
    for request in waiting:
        total[request.key] = total.get(request.key, 0.0) + _longest(request)
    return total
