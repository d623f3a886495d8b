"""Where a value came from. Outside text may inform, never command."""

from enum import StrEnum


class Label(StrEnum):
    """The origin of a value that entered a context, and whether everybody may read it."""

    USER = "user"
    OPERATOR = "operator"
    SYSTEM = "system"
    OUTSIDE = "outside"
    PRIVATE = "private"
    """Not everybody may read it. This says nothing about where it came from."""


def tainted(labels: frozenset[Label]) -> bool:
    """Say whether anything from outside is among the labels."""
    return Label.OUTSIDE in labels


def leaks(labels: frozenset[Label]) -> bool:
    """Say whether somebody outside could have private text sent to a place of their choice."""
    return tainted(labels) and Label.PRIVATE in labels
