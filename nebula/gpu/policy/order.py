"""Who is first: one virtual time for classes, ageing, fair share, priority and warm models.

A request ranks by its creation plus an offset that never spans more than `Rules.starvation`, so
that nobody can be overtaken by what came that much later: waiting is bounded. What a person waits
for ranks later the longer it takes, which keeps the mean wait short (Smith, Various optimizers for
single-stage production, 1956).

Among requests that rank level, what fewer cards can take goes first: the small work can go beside
it or elsewhere, but what only the largest card takes must not be left to the end. Then the model
whose waiting work is the most for each copy of it that runs (D'Hondt's highest averages): every
model gets as many copies as its work needs to be done at the same time as the others', and no
more, so there are few loads. Of one model the longest goes first (Graham, Bounds on
multiprocessing timing anomalies, 1969), or the shortest where a person waits, and of alike ones the
one that came first.
"""

from collections import defaultdict
from collections.abc import Mapping
from math import floor
from operator import itemgetter
from typing import NamedTuple

from nebula.gpu.policy.board import Board
from nebula.gpu.policy.rules import Rules
from nebula.gpu.policy.types import Key, Snapshot, Waiting

_DELAYS = 0.75
"""The share of `Rules.starvation` by which a request may rank later than it came."""


_by_rank = itemgetter(0)


class _Rank(NamedTuple):
    """What requests are compared by, the first that differs."""

    level: int
    cards: int
    """How many cards can take it."""
    share: float
    """Less the work of its model for each copy."""
    seconds: float
    """How long it runs; negative where the longest goes first."""
    created: float
    id: str


def in_order(snapshot: Snapshot, board: Board) -> list[Waiting]:
    """Return the requests, first first."""
    delays = _delays(snapshot, board.rules)
    by_model: dict[Key, list[tuple[_Rank, Waiting]]] = defaultdict(list)
    for r in snapshot.waiting:
        by_model[r.key].append((_rank(r, board.rules, delays[r.owner], warm=False), r))
    ceilings = {c: place.ceiling or 0 for c, place in board.places.items() if not place.why}
    ranked: list[tuple[_Rank, Waiting]] = []
    for key, requests in by_model.items():
        busy, idle = board.copies(key)
        work = sum(abs(rank.seconds) for rank, _ in requests)
        requests.sort(key=_by_rank)
        for n, (cold, r) in enumerate(requests):
            rank = _rank(r, board.rules, delays[r.owner], warm=True) if n < idle else cold
            share = -work / (busy + n + 1)
            ranked.append((rank._replace(cards=_cards(r, ceilings), share=share), r))
    return [request for _, request in sorted(ranked, key=_by_rank)]


def _rank(request: Waiting, rules: Rules, delay: float, *, warm: bool) -> _Rank:
    """Return how a request ranks among those of its own model."""
    seconds = max((o.run_seconds for o in request.options), default=0.0)
    virtual = virtual_time(request, seconds, rules, delay, warm=warm)
    length = seconds if rules.shortest_first[request.klass] else -seconds
    return _Rank(floor(virtual / rules.alike), 0, 0.0, length, request.created, request.id)


def virtual_time(
    request: Waiting, seconds: float, rules: Rules, delay: float, *, warm: bool
) -> float:
    """Return a request's place on the line of time by which the queue is ordered."""
    klass = request.klass
    offset = rules.ageing[klass] - request.priority * rules.priority_step
    offset += min(delay, rules.fair_share_most[klass])
    offset += rules.shortest_first[klass] * seconds
    if warm:
        offset -= rules.affinity[klass]
    # Nearly every offset is a delay; the slowest class needs room for what fair share adds.
    latest = rules.starvation * _DELAYS
    return request.created + min(latest, max(latest - rules.starvation, offset))


def _delays(snapshot: Snapshot, rules: Rules) -> Mapping[str, float]:
    """Return how much later owners rank that used more than the one who used least."""
    used = {r.owner: snapshot.usage.get(r.owner, 0.0) for r in snapshot.waiting}
    least = min(used.values(), default=0.0)
    return {o: (u - least) * rules.fair_share for o, u in used.items()}


def _cards(request: Waiting, ceilings: Mapping[str, int]) -> int:
    """Return how many cards could take a request as things are."""
    found = 0
    for option in request.options:
        if option.vram is not None and option.vram <= ceilings.get(option.card, -1):
            found += 1
    return found
