"""The policy: a snapshot in, decisions with reasons out. Pure and deterministic."""

from nebula.gpu.policy import backfill, preempt, reasons
from nebula.gpu.policy.board import Board, Holder
from nebula.gpu.policy.fit import Plan, plans
from nebula.gpu.policy.order import in_order
from nebula.gpu.policy.rules import Rules
from nebula.gpu.policy.types import (
    Decision,
    Evict,
    Loaded,
    Running,
    Snapshot,
    Start,
    Wait,
    Waiting,
    Yield,
)

# What is decided in this round can be shared by others in the next one at the earliest.
_MOMENT = 0.001


def decide(snapshot: Snapshot, rules: Rules = Rules()) -> tuple[Decision, ...]:  # noqa: B008 - frozen
    """Decide about every request that waits: start, wait, and what makes room for it.

    Each request gets exactly one `Start` or `Wait`. A request that needs room gets its `Evict`
    or `Yield` first, and its `Start` in a later round, when a snapshot shows the memory free;
    so applying all the starts never over-commits a card.
    """
    board = Board(snapshot, rules)
    found: list[Decision] = []
    for request in in_order(snapshot, board):
        found += _serve(request, board)
    return tuple(found)


def _serve(request: Waiting, board: Board) -> list[Decision]:
    ways = plans(request, board)
    if not ways:
        return [Wait(request.id, reasons.impossible(request, board))]
    for plan in ways:
        if not plan.room.soon:
            return _blocked(request, plan, board)
        if backfill.allowed(request, plan, board):
            return _begin(request, plan, board)
    return [Wait(request.id, reasons.behind(ways[0]))]


def _begin(request: Waiting, plan: Plan, board: Board) -> list[Decision]:
    """Start now, or unload first; either way the memory is spoken for."""
    now = plan.at <= board.now and not plan.room.evict
    found: list[Decision] = []
    if now:
        reason = reasons.started(request, plan)
        loaded = plan.room.warm.item.id if plan.room.warm else None
        found = [Start(request.id, plan.card, loaded, plan.room.need, reason)]
    else:
        for holder in plan.room.evict:
            reason = reasons.evicted(request, plan, holder)
            found.append(Evict(holder.item.id, request.id, reason))
            holder.going = True
        found.append(Wait(request.id, reasons.unloading(plan), plan.at))
    _take(request, plan, board.now)
    return found


def _take(request: Waiting, plan: Plan, now: float) -> None:
    """Note on the board what a plan holds, from now on."""
    place, room, until = plan.place, plan.room, plan.at + plan.seconds
    place.take(room.need)
    if room.warm is not None:
        if room.warm.vram is not None:
            room.warm.vram += room.need
        room.warm.use(until)
    elif plan.option.stays:
        name, (service, model) = f"for:{request.id}", request.key
        parallel, load = plan.option.parallel, plan.option.load_seconds
        item = Loaded(name, plan.card, service, model, room.need, "loading", parallel=parallel)
        place.holders.append(Holder(item, [until], max(plan.at + load, now + _MOMENT), load))
    else:
        work = Running(
            request.id, plan.card, request.klass, request.owner, request.key, room.need, now, None
        )
        place.loose.append((until, room.need, work))


def _blocked(request: Waiting, plan: Plan, board: Board) -> list[Decision]:
    """Keep a place for a request that must wait, or ask running work to step aside for it."""
    asked = preempt.to_yield(request, board, plan)
    if asked is not None:
        option, chosen = asked
        board.asked.update(w.id for w in chosen)
        at = preempt.room_at(board)
        backfill.keep(request, board.places[option.card], at, option.vram or 0, option.holds)
        found: list[Decision] = [
            Yield(w.id, request.id, reasons.yielded(request, option, w)) for w in chosen
        ]
        reason = reasons.stepping_aside(option, chosen)
        return [*found, Wait(request.id, reason, at)]
    first = backfill.reserve(request, plan)
    if plan.room.warm is not None:
        plan.room.warm.use(plan.at + plan.seconds)
        plan.place.changed()
    if not first:
        return [Wait(request.id, reasons.behind(plan))]
    return [Wait(request.id, reasons.blocked(request, plan, board), plan.at)]
