"""What the policy is asked, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from nebula.auth.principal import Caller, Surface
from nebula.policy.grants import Grant
from nebula.policy.plan import Plan
from nebula.policy.selectors import Origin
from nebula.tool.definition import AnyTool

POLICY_VERSION = "2"

_PERSONAL = frozenset({Surface.CHAT, Surface.REST, Surface.TERMINAL, Surface.DISCORD})
"""Doors at which a person may have typed the call itself."""


_LONG_AGO = datetime.fromtimestamp(0, UTC)


class Verdict(StrEnum):
    """What the policy says of a call, from mild to strict."""

    ALLOW = "allow"
    CONFIRM = "confirm"
    PROPOSE = "propose"
    BLOCK = "block"


STRICTNESS = {verdict: at for at, verdict in enumerate(Verdict)}


class Level(StrEnum):
    """How much a decision weighs: how long a question stands, and who may answer it where."""

    NORMAL = "normal"
    DESTRUCTIVE = "destructive"
    CRITICAL = "critical"
    """Decided in the web chat only, by somebody who has just signed in."""


@dataclass(frozen=True)
class Decision:
    """A verdict, the name of the rule that gave it, and the reason a person reads."""

    verdict: Verdict
    rule: str
    reason: str
    level: Level = Level.NORMAL
    grant_id: str | None = None
    """The standing grant that made it unnecessary to ask."""


@dataclass(frozen=True)
class Used:
    """What one person's calls have used up on this day, calls and money, by limit."""

    calls: Mapping[str, int] = field(default_factory=dict)
    money: Mapping[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True)
class Ask:
    """Everything a decision rests on. Nothing else does: the same ask gets the same answer."""

    tool: AnyTool
    caller: Caller
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """As JSON values, with secrets masked."""
    origins: Mapping[str, Origin] = field(default_factory=dict)
    """Where the value of each selector comes from."""
    plan: Plan = field(default_factory=Plan)
    grants: tuple[Grant, ...] = ()
    used: Used = field(default_factory=Used)
    cost: Decimal = Decimal(0)
    paused: str = ""
    """Why every effect is stopped, when it is."""
    now: datetime = _LONG_AGO

    @property
    def typed(self) -> bool:
        """Say whether a person gave this very call, word for word, with no model in between."""
        return not self.caller.by_model and self.caller.surface in _PERSONAL
