"""What leaves a card: the cheapest set of idle models that frees enough."""

from collections.abc import Sequence
from itertools import combinations

from nebula.gpu.policy.board import Holder, Place

# Up to this many idle models every combination is tried: at most 256.
_EXHAUSTIVE = 8


def cheapest(
    place: Place, missing: int, *, keep: Holder | None, with_these: Sequence[Holder] = ()
) -> tuple[Holder, ...] | None:
    """Return the set that costs the fewest expected reload seconds; None when none is enough.

    `with_these` leave in any case. What is pinned, in use or of unknown size never leaves.
    """
    missing -= sum(h.vram or 0 for h in with_these)
    if missing <= 0:
        return tuple(with_these)
    idle = [
        h for h in place.holders if h is not keep and h not in with_these and h.evictable(place.now)
    ]
    idle.sort(key=lambda h: h.item.id)
    if sum(h.vram or 0 for h in idle) < missing:
        return None
    chosen = _best(idle, missing) if len(idle) <= _EXHAUSTIVE else _greedy(idle, missing)
    return (*with_these, *chosen)


def _best(idle: Sequence[Holder], missing: int) -> Sequence[Holder]:
    sets = (
        group
        for count in range(1, len(idle) + 1)
        for group in combinations(idle, count)
        if sum(h.vram or 0 for h in group) >= missing
    )
    return min(sets, key=_cost)


def _cost(group: Sequence[Holder]) -> tuple[float, int, int, float]:
    """Order sets: cheapest, fewest, smallest, idle longest."""
    freed = sum(h.vram or 0 for h in group)
    idle = sum(h.item.idle_seconds for h in group)
    return round(sum(h.price for h in group), 6), len(group), freed, -idle


def _greedy(idle: Sequence[Holder], missing: int) -> Sequence[Holder]:
    """Take the cheapest per byte until it is enough, then leave out what is not needed."""
    chosen: list[Holder] = []
    freed = 0
    for holder in sorted(idle, key=lambda h: (h.price / (h.vram or 1), h.item.id)):
        if freed >= missing:
            break
        chosen.append(holder)
        freed += holder.vram or 0
    for holder in sorted(chosen, key=lambda h: (-h.price, h.item.id)):
        if freed - (holder.vram or 0) >= missing:
            chosen.remove(holder)
            freed -= holder.vram or 0
    return chosen
