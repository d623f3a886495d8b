"""Who may say yes to a question, where, and how surely it must be them: one pure function.

Saying no, or asking for changes, stops something, so that takes the right alone.
"""

from dataclasses import dataclass
from enum import StrEnum

from nebula.auth.principal import Principal, Surface
from nebula.policy.ask import Level

_DECIDING = frozenset({Surface.CHAT, Surface.REST, Surface.TERMINAL, Surface.DISCORD})
"""Doors through which a person shows who they are; schedules and MCP clients never decide."""
_FULL_CARD = frozenset({Surface.CHAT, Surface.REST, Surface.TERMINAL})
"""Doors that show the whole question with its evidence, and take an answer nobody slips into."""


class FourEyes(StrEnum):
    """When somebody else than the requester must say yes to what outside text may have asked."""

    AUTO = "auto"
    """For what cannot be undone, where another person holds the right."""
    ALWAYS = "always"
    """For what cannot be undone, even if nobody else holds the right."""
    OFF = "off"


class Bar(StrEnum):
    """What stands between a person and the answer they want to give."""

    DOOR = "door"
    PROGRAM = "program"
    PERMISSION = "permission"
    SECOND_PERSON = "second_person"
    FRESH_SIGN_IN = "fresh_sign_in"


@dataclass(frozen=True)
class Question:
    """What of a question decides who may answer it."""

    permission: str
    level: Level
    requester_id: str
    tainted: bool
    """Text from outside may have had a hand in the request, and no person typed it."""
    four_eyes: FourEyes


@dataclass(frozen=True)
class Answerer:
    """A person at a door; `fresh` when they have just shown who they are."""

    principal: Principal
    surface: Surface
    fresh: bool
    others: bool
    """Somebody else than the requester holds the permission as well."""


def bar(question: Question, who: Answerer, *, approving: bool) -> Bar | None:
    """Return what keeps this person from giving the answer here, None when nothing does."""
    if who.surface not in _DECIDING:
        return Bar.DOOR
    if who.principal.key_id is not None or who.principal.frozen is not None:
        return Bar.PROGRAM
    if not who.principal.can(question.permission):
        return Bar.PERMISSION
    if not approving:
        return None
    if (question.tainted or question.level is Level.CRITICAL) and who.surface not in _FULL_CARD:
        return Bar.DOOR
    if needs_second(question, others=who.others) and who.principal.id == question.requester_id:
        return Bar.SECOND_PERSON
    # Whoever holds the data folder at the machine's own terminal can read every row of it.
    at_the_machine = who.surface is Surface.TERMINAL
    if question.level is Level.CRITICAL and not (who.fresh or at_the_machine):
        return Bar.FRESH_SIGN_IN
    return None


def needs_second(question: Question, *, others: bool) -> bool:
    """Say whether the requester's own yes does not count."""
    if not question.tainted or question.level is Level.NORMAL:
        return False
    match question.four_eyes:
        case FourEyes.OFF:
            return False
        case FourEyes.ALWAYS:
            return True
        case FourEyes.AUTO:
            return others
