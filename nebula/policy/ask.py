"""What the policy is asked, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from nebula.auth.principal import Caller, Surface
from nebula.policy.grants import Grant
from nebula.policy.names import Names
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
class Uses:
    """What can be used once: a step of the plan, and a person's endorsements."""

    step: str = ""
    endorsements: tuple[str, ...] = ()
    needed: bool = False
    """Without them the call would have had to wait for a person."""

    def __bool__(self) -> bool:
        return bool(self.step or self.endorsements)


@dataclass(frozen=True)
class Decision:
    """A verdict, the name of the rule that gave it, and the reason a person reads."""

    verdict: Verdict
    rule: str
    reason: str
    level: Level = Level.NORMAL
    grant_id: str | None = None
    """The standing grant that made it unnecessary to ask."""
    origins: Mapping[str, Origin] = field(default_factory=dict, compare=False)
    """Where the value of each selector comes from, as far as that was looked at."""
    uses: Uses = field(default_factory=Uses, compare=False)
    """What the call takes up when it begins."""


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
    spent: frozenset[str] = frozenset()
    """The steps that have run."""
    endorsements: Mapping[str, str] = field(default_factory=dict)
    """The endorsement that each ENDORSED selector rests on."""
    names: Names = field(default_factory=Names)
    """What names mean at this moment."""
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
