"""How a request could run on one card: warm, into free memory, after evictions, or later."""

from math import inf
from operator import itemgetter
from typing import NamedTuple

from nebula.gpu.policy.board import Board, Holder, Place
from nebula.gpu.policy.evict import cheapest
from nebula.gpu.policy.types import Option, Waiting


class Room(NamedTuple):
    """When a card has room for something, and what that takes."""

    at: float
    need: int
    """Bytes newly taken."""
    warm: Holder | None = None
    evict: tuple[Holder, ...] = ()
    """What is unloaded now for it."""
    soon: bool = False
    """Nothing is in the way, or only what is being unloaded."""
    price: float = 0.0
    leftover: int = 0


class Plan(NamedTuple):
    """One way to run a request."""

    score: float
    """Seconds until it is done, with the price of what is unloaded for it."""
    leftover: int
    card: str
    option: Option
    place: Place
    room: Room

    @property
    def at(self) -> float:
        """Return when it could start."""
        return self.room.at

    @property
    def seconds(self) -> float:
        """Return how long it takes from its start, loading included."""
        load = 0.0 if self.room.warm else self.option.load_seconds
        return self.option.run_seconds + load


_first = itemgetter(0, 1, 2)


def plans(request: Waiting, board: Board) -> list[Plan]:
    """Return every way to run a request, the best first: done soonest, then tightest fit."""
    found: list[Plan] = []
    for option in request.options:
        place = board.places.get(option.card)
        if place is None or place.why:
            continue
        for room in _rooms(request, option, place):
            cost = score(request, option, place, room)
            found.append(Plan(cost, room.leftover, option.card, option, place, room))
    found.sort(key=_first)
    return found


def score(request: Waiting, option: Option, place: Place, room: Room) -> float:
    """Return a plan's price in seconds, to the millisecond."""
    rules = place.rules
    busy = place.card.utilization or 0.0
    seconds = room.at - place.now + room.price
    seconds += option.run_seconds * (1 + busy * rules.utilization_weight)
    if room.warm is None:
        seconds += option.load_seconds * rules.load_weight[request.klass]
    if request.preferred_node == place.card.node:
        seconds -= rules.preferred_node
    return round(seconds, 3)


def _rooms(request: Waiting, option: Option, place: Place) -> tuple[Room, ...]:
    """Return the ways to run on one card; the same need has the same answer until it changes."""
    shape = (request.key, option.vram, option.holds)
    found = place.rooms.get(shape)
    if found is None:
        same = place.same(request.key)
        ways = [_warm(option, place, min(same, key=lambda h: h.slot_at))] if same else []
        if not same or option.holds == "copies":
            ways.append(_cold(request, option, place))
        found = place.rooms[shape] = tuple(way for way in ways if way.at < inf)
    return found


def _warm(option: Option, place: Place, holder: Holder) -> Room:
    """Use a loaded model, once it has a place for one more and room to grow.

    A need that nobody knows is taken to be what the model holds already.
    """
    growth = 0
    if option.vram is not None and holder.vram is not None:
        growth = max(0, option.vram - holder.vram)
    room = Room(place.now, 0, soon=True)
    if growth:
        room = _room(place, growth, keep=holder)
    if holder.slot_at > place.now:
        room = Room(max(room.at, holder.slot_at), growth, leftover=room.leftover)
    return room._replace(warm=holder)


def _cold(request: Waiting, option: Option, place: Place) -> Room:
    """Load it: into what is free, or after something has left."""
    if option.vram is None or place.ceiling is None or option.vram > place.ceiling:
        return Room(inf, 0)
    rivals = tuple(
        h
        for h in place.holders
        if (h.going and h.item.key == request.key and option.holds != "copies")
        or (h.item.service == request.key[0] and option.holds == "one")
    )
    return _room(place, option.vram, rivals=rivals)


def _room(
    place: Place, need: int, *, keep: Holder | None = None, rivals: tuple[Holder, ...] = ()
) -> Room:
    """Return when so much is free.

    Rivals are what the same service holds and must give up first.
    """
    now, free = place.now, place.free
    if free is None:
        return Room(inf, need)
    if free >= need and not rivals:
        return Room(now, need, soon=True, leftover=free - need)
    staying = [h for h in rivals if not h.going]
    if all(h.evictable(now) for h in staying):
        missing = need - free - place.incoming
        chosen = cheapest(place, missing, keep=keep, with_these=staying)
        if chosen is not None:
            left = free + place.incoming + sum(h.vram or 0 for h in chosen) - need
            price = sum(h.price for h in chosen)
            at = now + place.rules.leave_seconds if chosen else place.gone_for(need, rivals)
            return Room(at, need, None, chosen, soon=True, price=price, leftover=left)
    if any(h.item.pinned for h in staying):
        return Room(inf, need)
    at = max([place.earliest(need, keep), *(h.idle_at for h in staying)])
    return Room(at + place.rules.leave_seconds, need, leftover=free - need)
