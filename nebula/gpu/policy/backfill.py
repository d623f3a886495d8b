"""EASY backfill: whoever is blocked first on a card gets a reservation that nothing delays.

Lifka, The ANL/IBM SP scheduling system (1995): later work may start if it ends before the
reservation, or fits beside what is reserved.
"""

from nebula.gpu.policy.board import Board, Place, Reservation
from nebula.gpu.policy.fit import Plan
from nebula.gpu.policy.types import Waiting


def allowed(request: Waiting, plan: Plan, board: Board) -> bool:
    """Say whether a plan leaves the reservation of its card as early as it is."""
    reserved = plan.place.reservation
    if reserved is None:
        return True
    slack = 1 + board.rules.backfill_slack
    if plan.at + plan.seconds * slack <= reserved.at:
        return True
    if _same_seat(request, reserved):
        return False
    return plan.place.available(reserved.at) - _held(plan, reserved.at) >= reserved.need


def _same_seat(request: Waiting, reserved: Reservation) -> bool:
    """Say whether it would occupy what the reservation's own service must have free."""
    if reserved.holds == "one":
        return request.key[0] == reserved.request.key[0]
    return reserved.holds == "models" and request.key == reserved.request.key


def _held(plan: Plan, at: float) -> int:
    """Return what it would hold then of what could be free without it."""
    if plan.room.warm is None or plan.room.warm.item.pinned or plan.room.warm.idle_at > at:
        return plan.room.need
    return plan.room.need + (plan.room.warm.vram or 0)


def reserve(request: Waiting, plan: Plan) -> bool:
    """Give a blocked request its place, if nobody else has one on that card."""
    if plan.place.reservation is not None:
        return False
    if plan.room.need or plan.room.warm is None:
        keep(request, plan.place, plan.at, plan.room.need, plan.option.holds)
    return True


def keep(request: Waiting, place: Place, at: float, need: int, holds: str) -> None:
    """Reserve a card for a request; what is idle by then must still be unloaded before its start."""
    by = at - place.rules.leave_seconds
    place.reservation = Reservation(request, by, need, holds)
