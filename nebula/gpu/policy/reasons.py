"""Every decision in one sentence for the owner of the machine."""

from collections.abc import Sequence

from nebula.gpu.policy.board import Board, Holder, Place
from nebula.gpu.policy.fit import Plan
from nebula.gpu.policy.types import Option, Running, Waiting
from nebula.services.sizes import spoken


def started(request: Waiting, plan: Plan) -> str:
    """Say why it starts here."""
    where = plan.card
    if plan.room.warm is not None:
        grown = f" and grows by {spoken(plan.room.need)}" if plan.room.need else ""
        return f"{request.label} is loaded already on {where}{grown}"
    free = spoken(plan.place.free)
    return f"{request.label} needs {spoken(plan.room.need)} on {where}, {free} are free"


def evicted(request: Waiting, plan: Plan, holder: Holder) -> str:
    """Say why a model leaves, and what that costs."""
    seconds = holder.item.reload_seconds
    return (
        f"unloaded {holder.item.label}: {request.label} needs {spoken(plan.room.need)}, "
        f"{spoken(max(0, plan.place.free or 0))} free, reload costs {seconds:.0f} s"
    )


def yielded(request: Waiting, option: Option, work: Running) -> str:
    """Say why running work is asked to step aside."""
    name = work.key[1] or work.key[0]
    return (
        f"asked {name} to save and release {option.card}: {request.label} "
        f"({request.klass.name.lower()}) goes before {work.klass.name.lower()} "
        f"and needs {spoken(option.vram)}; {name} goes on by itself afterwards"
    )


def unloading(plan: Plan) -> str:
    """Say that memory is on its way."""
    names = _and([h.item.label for h in plan.place.holders if h.going])
    return f"waits for {spoken(plan.room.need)} on {plan.card}: {names} is being unloaded"


def blocked(request: Waiting, plan: Plan, board: Board) -> str:
    """Say what a request that comes next waits for."""
    where, seconds = plan.card, _about(plan.at - board.now)
    if plan.room.warm is not None and not plan.room.need:
        verb = "is being loaded" if plan.room.warm.ready > board.now else "is in use"
        return f"waits for {request.label} on {where}: it {verb} for {seconds} more"
    missing = spoken(plan.room.need - max(0, plan.place.free or 0))
    return f"waits for {missing} on {where}: {_who(plan, board)} in {seconds}"


def _who(plan: Plan, board: Board) -> str:
    """Name whose end frees the memory."""
    names: list[str] = []
    for work in board.running:
        ends = board.expected_end(work)
        if work.card == plan.card and board.now < ends <= plan.at:
            names.append(work.key[1] or work.key[0])
    if not names:
        return "it is expected to come free"
    unique = list(dict.fromkeys(names))
    verb = "finishes" if len(unique) == 1 else "finish"
    return f"{_and(unique)} {verb}"


def behind(plan: Plan) -> str:
    """Say whom a request waits behind."""
    reserved = plan.place.reservation
    if reserved is None:
        return f"waits for {spoken(plan.room.need)} on {plan.card}, which is in use"
    what = f"{spoken(plan.room.need)} on {plan.card}" if plan.room.need else plan.card
    return f"waits for {what}, which is kept for {reserved.request.label}"


def stepping_aside(option: Option, asked: Sequence[Running]) -> str:
    """Say who was asked to make room."""
    names = _and([w.key[1] or w.key[0] for w in asked])
    return f"waits for {spoken(option.vram)} on {option.card}: {names} was asked to make room"


def impossible(request: Waiting, board: Board) -> str:
    """Say why no card can take a request as things are."""
    if not request.options:
        return f"no card is known that could run {request.label}"
    whys = [_why_not(request, option, board) for option in request.options]
    return f"{request.label} cannot run now: {'; '.join(dict.fromkeys(whys))}"


def _why_not(request: Waiting, option: Option, board: Board) -> str:
    place = board.places.get(option.card)
    if place is None:
        return f"{option.card} is not there"
    if place.why:
        return place.why
    if option.vram is None:
        return f"how much VRAM {request.label} needs is not known"
    if place.free is None:
        return f"how much is free on {option.card} is not known"
    return _too_big(option, place)


def _too_big(option: Option, place: Place) -> str:
    others = []
    if place.card.foreign:
        others.append(f"other programs hold {spoken(place.card.foreign)}")
    pinned = [h.item.label for h in place.holders if h.item.pinned]
    if pinned:
        others.append(f"{_and(pinned)} is pinned")
    why = f" ({_and(others)})" if others else ""
    return (
        f"it needs {spoken(option.vram)} and {option.card} can give "
        f"{spoken(max(0, place.ceiling or 0))}{why}"
    )


def _about(seconds: float) -> str:
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min"


def _and(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}"
