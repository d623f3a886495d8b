"""Where a value came from. Outside text may inform, never command."""

from enum import StrEnum


class Label(StrEnum):
    """The origin of a value that entered a context."""

    USER = "user"
    OPERATOR = "operator"
    SYSTEM = "system"
    OUTSIDE = "outside"


def tainted(labels: frozenset[Label]) -> bool:
    """Say whether anything from outside is among the labels."""
    return Label.OUTSIDE in labels
