"""A decision typed as a message: only for the one question that waits in this conversation.

What is typed here was typed by the person whose page it is; no tool, file or other door comes this
way, and the row is decided by the same rules as with the card's buttons.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nebula.auth.principal import Principal
from nebula.errors import Conflict
from nebula.policy.ask import Level
from nebula.tool.approval import Approval
from nebula.tool.approvals import Answer, Approvals

_SAID = re.compile(r"(approve|deny|reject)(?: (?:it|that|this))?(?: (apr_[0-9a-z]+))?[.!]?", re.I)
_SEEN = timedelta(seconds=2)
"""A question younger than this is not what somebody answered who was typing meanwhile."""


@dataclass(frozen=True)
class Spoken:
    """An answer in words, and the question it names, if it names one."""

    answer: Answer
    approval_id: str | None


def spoken(text: str) -> Spoken | None:
    """Read a message that is a decision and nothing else."""
    found = _SAID.fullmatch(" ".join(text.split()))
    if found is None:
        return None
    answer: Answer = "approve" if found[1].lower() == "approve" else "deny"
    return Spoken(answer, found[2])


async def meant(
    approvals: Approvals, said: Spoken, principal: Principal, session_id: str
) -> Approval | None:
    """Return the question that an answer is for; None when none waits in the conversation.

    Raises:
        Conflict: when it is not certain which is meant, or this one is not approved by a word.
    """
    waiting = await approvals.list(principal, state="pending", session_id=session_id)
    return chosen(said, waiting, datetime.now(UTC))


def chosen(said: Spoken, waiting: Sequence[Approval], now: datetime) -> Approval | None:
    """Choose among the questions that wait in one conversation; see `meant`."""
    if not waiting:
        return None
    named = [each for each in waiting if said.approval_id in {None, each.id}]
    hint = f"Use its card, or type: {said.answer} {(named or waiting)[0].id}"
    if len(named) != 1:
        many = f"{len(named)} questions wait here" if named else "No such question waits here"
        raise Conflict(many, hint=hint)
    [found] = named
    if said.answer == "approve" and said.approval_id is None:
        if found.level is not Level.NORMAL or found.tainted:
            raise Conflict("This is not approved by one word: it cannot be undone", hint=hint)
        if now - found.created_at < _SEEN:
            raise Conflict("That question came up just now: look at it first", hint=hint)
    return found
