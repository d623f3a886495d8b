"""How a task given to several agents goes on: who starts, when enough is there, how it ends. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

OPEN = frozenset({"queued", "running", "waiting"})
NOT_YET = ""
"""The state of a member whose turn has not come."""
LATE = "late"
"""The state of a member that the board did not wait for any longer."""


@dataclass(frozen=True)
class Rule:
    """What was agreed when the task was given."""

    chain: bool
    """One after another, each with the reports before it; else all at once."""
    at_least: int
    """How many have to succeed."""
    wait: bool
    """Let everyone come to an end, even when enough have succeeded."""


@dataclass(frozen=True)
class Move:
    """What is due now; nothing at all when the members are still at work."""

    start: tuple[int, ...] = ()
    """Positions of members whose turn has come."""
    join: bool = False
    """It is the joining agent's turn."""
    give_up_rest: bool = False
    """Whoever is still at work is stopped."""
    end: Literal["", "done", "failed"] = ""
    why: str = ""


def next_move(rule: Rule, members: Sequence[str], joiner: str | None, *, over: bool) -> Move:
    """Return what is due, by the members' states in their order.

    `joiner` is the joining agent's state, None when there is none; `over` says that the time of
    the whole is used up.
    """
    if joiner not in {None, NOT_YET}:
        return _joined(str(joiner), over=over)
    done = members.count("done")
    unsettled = sum(state in OPEN or state == NOT_YET for state in members)
    if done >= rule.at_least and (unsettled == 0 or over or not rule.wait):
        return _enough(unsettled, joiner, done, len(members))
    if over:
        why = f"Its time is over, and {done} of {len(members)} succeeded; {rule.at_least} had to."
        return Move(give_up_rest=True, end="failed", why=why)
    if done + unsettled < rule.at_least:
        bad = len(members) - done - unsettled
        why = f"{bad} of {len(members)} did not succeed, and {rule.at_least} had to."
        return Move(give_up_rest=True, end="failed", why=why)
    return Move(start=_due(rule, members))


def _due(rule: Rule, members: Sequence[str]) -> tuple[int, ...]:
    waiting = tuple(at for at, state in enumerate(members) if state == NOT_YET)
    if not rule.chain:
        return waiting
    return () if any(state in OPEN for state in members) else waiting[:1]


def _enough(unsettled: int, joiner: str | None, done: int, of: int) -> Move:
    rest = unsettled > 0
    if joiner is not None:
        return Move(join=True, give_up_rest=rest)
    return Move(give_up_rest=rest, end="done", why=f"{done} of {of} succeeded.")


def _joined(state: str, *, over: bool) -> Move:
    if state == "done":
        return Move(end="done", why="The reports are joined.")
    if state in OPEN:
        if not over:
            return Move()
        return Move(
            give_up_rest=True, end="failed", why="Its time was over before they were joined."
        )
    return Move(end="failed", why="The reports are there, but the agent that joins them failed.")
