"""Which running work is asked to save and release its card for something more urgent."""

from collections.abc import Sequence

from nebula.gpu.policy.board import Board, Place
from nebula.gpu.policy.fit import Plan, Room, score
from nebula.gpu.policy.types import Option, Running, Waiting


def room_at(board: Board) -> float:
    """Return when what is asked to yield now makes room, as the next rounds will say it.

    Once it has saved, what is idle by then is unloaded.
    """
    return board.now + board.rules.yield_seconds + board.rules.leave_seconds


def to_yield(
    request: Waiting, board: Board, otherwise: Plan
) -> tuple[Option, tuple[Running, ...]] | None:
    """Return the work to ask and where, when that brings the request forward enough.

    Only work of a lower class that can yield, and that has run for a while, is asked; and only
    where the request would go once there is room, rather than wait for the best plan otherwise.
    """
    gain = board.now + board.rules.yield_seconds + board.rules.preempt_after[request.klass]
    if otherwise.at <= gain:
        return None
    found = []
    for option in request.options:
        place = board.places.get(option.card)
        if place is None or place.why or place.free is None or option.vram is None:
            continue
        if place.reservation is not None or _held_up(request, option, place):
            continue
        if score(request, option, place, Room(room_at(board), option.vram)) >= otherwise.score:
            continue
        chosen = _enough(place, option.vram, _candidates(request, board, place))
        if chosen:
            found.append((option, chosen))
    return min(found, key=lambda f: (_price(f[1]), f[0].card), default=None)


def _held_up(request: Waiting, option: Option, place: Place) -> bool:
    """Say whether its own service must be free or give up a pin, which no memory would help."""
    if option.holds == "copies":
        return False
    return any(
        not h.going
        and (h.ends or h.ready > place.now or (h.item.pinned and h.item.key != request.key))
        for h in place.holders
        if h.item.key == request.key or (h.item.service == request.key[0] and option.holds == "one")
    )


def _candidates(request: Waiting, board: Board, place: Place) -> list[Running]:
    """Return who may be asked, lowest class and latest start first.

    What ends by itself before it could have saved is left alone.
    """
    quantum = board.rules.yield_quantum
    saved = board.now + max(board.rules.yield_seconds, board.rules.leave_seconds)
    found = [
        work
        for work in board.running
        if work.card == place.card.id
        and work.yields
        and not work.yielding
        and work.klass < request.klass
        and work.id not in board.asked
        and board.now - work.started >= quantum
        and board.expected_end(work) > saved
    ]
    return sorted(found, key=lambda w: (w.klass, -w.started, w.id))


def _enough(place: Place, need: int, candidates: Sequence[Running]) -> tuple[Running, ...]:
    """Return the first of them whose memory suffices with what is idle or leaving; or none."""
    have = place.available(place.now + place.rules.leave_seconds)
    # What others use too stays where it is.
    sizes = {
        h.item.id: h.vram or 0 for h in place.holders if not h.item.pinned and len(h.ends) == 1
    }
    chosen: list[Running] = []
    for work in candidates:
        if have >= need:
            break
        size = work.vram if work.loaded is None else sizes.get(work.loaded, 0)
        if size:
            chosen.append(work)
            have += size
    return tuple(chosen) if have >= need else ()


def _price(chosen: Sequence[Running]) -> tuple[int, int, float]:
    return len(chosen), max(int(w.klass) for w in chosen), -min(w.started for w in chosen)
