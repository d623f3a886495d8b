"""Who is first: one virtual time for classes, ageing, fair share, priority and warm models.

A request ranks by its creation plus an offset that never spans more than `Rules.starvation`, so
that nobody can be overtaken by what came that much later: waiting is bounded.

Among requests that rank level, the model goes first whose waiting work is the most for each copy
of it that runs (D'Hondt's highest averages): every model gets as many copies as its work needs to
be done at the same time as the others', and no more, so there are few loads. Of one model the
longest goes first (Graham, Bounds on multiprocessing timing anomalies, 1969), and of alike ones
the one that came first.
"""

from collections import defaultdict
from collections.abc import Mapping
from math import floor

from nebula.gpu.policy.board import Board
from nebula.gpu.policy.rules import Rules
from nebula.gpu.policy.types import Key, Snapshot, Waiting


def in_order(snapshot: Snapshot, board: Board) -> list[Waiting]:
    """Return the requests, first first."""
    rules = board.rules
    delays = _delays(snapshot, rules)
    by_model: dict[Key, list[tuple[float, float, float, str, Waiting]]] = defaultdict(list)
    for r in snapshot.waiting:
        virtual = virtual_time(r, rules, delays.get(r.owner, 0.0), warm=False)
        by_model[r.key].append((floor(virtual / rules.alike), -_longest(r), r.created, r.id, r))
    ranked: list[tuple[int, float, float, float, str, Waiting]] = []
    for key, requests in by_model.items():
        busy, idle = board.copies(key)
        work = -sum(seconds for _, seconds, *_ in requests)
        requests.sort(key=lambda each: each[:4])
        for n, (_, seconds, created, name, r) in enumerate(requests):
            virtual = virtual_time(r, rules, delays.get(r.owner, 0.0), warm=n < idle)
            share = -work / (busy + n + 1)
            ranked.append((floor(virtual / rules.alike), share, seconds, created, name, r))
    ranked.sort(key=lambda each: each[:5])
    return [each[5] for each in ranked]


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
