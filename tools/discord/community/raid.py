"""The raid brake: many who join at once switch it on, and calm switches it off. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from tools.discord.community.rules import Raid


@dataclass(frozen=True)
class Brake:
    """How a server is at a moment."""

    joins: tuple[tuple[float, str], ...] = ()
    """When who joined, within the window."""
    until: float = 0.0
    """The brake is on until then."""

    def on(self, now: float) -> bool:
        """Say whether the brake is on."""
        return now < self.until


@dataclass(frozen=True)
class Pulled:
    """What a join leads to."""

    brake: Brake
    began: bool = False
    """With this join the brake went on."""
    held: Sequence[str] = ()
    """Who is timed out for it: all who came in the rush, or the one who came after."""


def joined(brake: Brake, rules: Raid, member_id: str, now: float) -> Pulled:
    """Return what follows from somebody joining at a moment, in seconds."""
    if not rules.joins:
        return Pulled(Brake())
    lately = tuple(each for each in brake.joins if now - each[0] <= rules.seconds)
    joins = (*lately, (now, member_id))[-(rules.joins + 1) :]
    rush = len(joins) >= rules.joins
    if not rush:
        held = [member_id] if brake.on(now) else []
        return Pulled(Brake(joins, brake.until), held=held)
    began = not brake.on(now)
    held = [each for _, each in joins] if began else [member_id]
    return Pulled(Brake(joins, now + rules.calm_minutes * 60), began=began, held=held)
