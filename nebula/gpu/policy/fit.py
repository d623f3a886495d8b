"""How a request could run on one card: warm, into free memory, after evictions, or later."""

from dataclasses import dataclass
from math import inf

from nebula.gpu.policy.board import Board, Holder, Place
from nebula.gpu.policy.evict import cheapest
from nebula.gpu.policy.types import Option, Waiting


@dataclass(frozen=True, slots=True)
class Plan:
    """One way to run a request."""

    option: Option
    place: Place
    at: float
    """When it could start."""
    warm: Holder | None
    need: int
    """Bytes newly taken."""
    evict: tuple[Holder, ...]
    score: float
    """Seconds until it is done, with the price of what is unloaded for it."""
    leftover: int
    soon: bool
    """It starts now, or as soon as unloading is done."""

    @property
    def seconds(self) -> float:
        """Return how long it takes from its start, loading included."""
        return self.option.run_seconds + (0.0 if self.warm else self.option.load_seconds)


def plans(request: Waiting, board: Board) -> list[Plan]:
    """Return every way to run a request, the best first: done soonest, then tightest fit."""
    found: list[Plan] = []
    for option in request.options:
        place = board.places.get(option.card)
        if place is not None and not place.why:
            found += _on(request, option, place, board)
    return sorted(found, key=lambda p: (round(p.score, 3), p.leftover, p.place.card.id))


def _on(request: Waiting, option: Option, place: Place, board: Board) -> list[Plan]:
    same = [h for h in place.holders if h.item.key == request.key and not h.going]
    found = []
    if same:
        found.append(_warm(request, option, place, board, min(same, key=lambda h: h.slot_at)))
    if not same or option.holds == "copies":
        found.append(_cold(request, option, place, board))
    return [plan for plan in found if plan is not None]


def _warm(
    request: Waiting, option: Option, place: Place, board: Board, holder: Holder
) -> Plan | None:
    """Use a loaded model, once it has a place for one more and room to grow.

    A need that nobody knows is taken to be what the model holds already.
    """
    growth = 0
    if option.vram is not None and holder.vram is not None:
        growth = max(0, option.vram - holder.vram)
    room = _room(place, growth, keep=holder) if growth else _Room(board.now, soon=True)
    if holder.slot_at > board.now:
        room = _Room(max(room.at, holder.slot_at), soon=False)
    return _plan(request, option, board, room, warm=holder, need=growth)


def _cold(request: Waiting, option: Option, place: Place, board: Board) -> Plan | None:
    """Load it: into what is free, or after something has left."""
    if option.vram is None or place.ceiling is None or option.vram > place.ceiling:
        return None
    rivals = tuple(
        h
        for h in place.holders
        if (h.going and h.item.key == request.key and option.holds != "copies")
        or (h.item.service == request.key[0] and option.holds == "one")
    )
    room = _room(place, option.vram, rivals=rivals)
    return _plan(request, option, board, room, warm=None, need=option.vram)


@dataclass(frozen=True, slots=True)
class _Room:
    """When there is room, and what is unloaded now for it."""

    at: float
    evict: tuple[Holder, ...] = ()
    soon: bool = False


def _room(
    place: Place,
    need: int,
    *,
    keep: Holder | None = None,
    rivals: tuple[Holder, ...] = (),
) -> _Room:
    """Return when so much is free.

    Rivals are what the same service holds and must give up first.
    """
    now, free = place.now, place.free
    if free is None:
        return _Room(inf)
    if free >= need and not rivals:
        return _Room(now, soon=True)
    staying = [h for h in rivals if not h.going]
    if all(h.evictable(now) for h in staying):
        missing = need - free - place.incoming
        chosen = cheapest(place, missing, keep=keep, with_these=staying)
        if chosen is not None:
            return _Room(now + place.rules.leave_seconds, chosen, soon=True)
    if any(h.item.pinned for h in staying):
        return _Room(inf)
    at = max([place.earliest(need, keep), *(h.idle_at for h in staying)])
    return _Room(at + place.rules.leave_seconds)


def _plan(
    request: Waiting, option: Option, board: Board, room: _Room, *, warm: Holder | None, need: int
) -> Plan | None:
    if room.at == inf:
        return None
    rules, place = board.rules, board.places[option.card]
    busy = place.card.utilization or 0.0
    score = room.at - board.now + option.run_seconds * (1 + busy * rules.utilization_weight)
    if warm is None:
        score += option.load_seconds * rules.load_weight
    score += sum(h.price for h in room.evict)
    if request.preferred_node == place.card.node:
        score -= rules.preferred_node
    leftover = (place.free or 0) + sum(h.vram or 0 for h in room.evict) - need
    return Plan(option, place, room.at, warm, need, room.evict, score, leftover, room.soon)
