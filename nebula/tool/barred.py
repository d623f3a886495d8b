"""How it reads when somebody may not give the answer they want to give."""

from nebula.errors import FreshSignInNeeded, NebulaError, PermissionDenied
from nebula.policy.answering import Bar, FourEyes
from nebula.tool.approval import Approval


def barred(found: Bar, approval: Approval) -> NebulaError:
    """Return the error for what stands between a person and an answer."""
    match found:
        case Bar.DOOR:
            return PermissionDenied(
                "This is decided by a person, in the web chat, its page or the terminal.",
                hint="Open it there.",
            )
        case Bar.PROGRAM:
            return PermissionDenied(
                "A program cannot decide what it may have asked for itself",
                hint="Decide it in the web chat, on its page, or in the terminal.",
            )
        case Bar.PERMISSION:
            return PermissionDenied(f"Deciding this needs the permission {approval.permission}.")
        case Bar.SECOND_PERSON:
            return PermissionDenied(_second(approval), hint=_SECOND_HINT)
        case Bar.FRESH_SIGN_IN:
            return FreshSignInNeeded(
                hint="Confirm at /confirm, or sign in anew with a link from the terminal."
            )


def _second(approval: Approval) -> str:
    if approval.four_eyes is FourEyes.ALWAYS:
        why = "The operator wants a second person for this"
    else:
        why = "Text from outside may have asked for this in your name, and it cannot be undone"
    return f"{why}: somebody else with the permission {approval.permission} must approve it."


_SECOND_HINT = "You may deny it, or ask for the same yourself in a new conversation."
