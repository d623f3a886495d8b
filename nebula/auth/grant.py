"""What may be done, as patterns; and how two grants meet. Meeting never adds anything."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Grant:
    """Patterns `feature:right` that are allowed, and those denied all the same."""

    allowed: frozenset[str]
    denied: frozenset[str] = frozenset()

    def narrowed(self, other: "Grant") -> "Grant":
        """Return what both grant."""
        return Grant(intersect(self.allowed, other.allowed), self.denied | other.denied)

    def can(self, permission: str) -> bool:
        """Say whether a permission `feature:right` is granted."""
        feature, _, right = permission.partition(":")
        wanted = {permission, f"{feature}:*", f"*:{right}", "*:*"}
        return wanted.isdisjoint(self.denied) and not wanted.isdisjoint(self.allowed)


EVERYTHING = Grant(frozenset({"*:*"}))
READ_ONLY = Grant(frozenset({"*:read"}))


def of_features(features: Iterable[str], reads: Iterable[str] = ()) -> Grant:
    """Return the grant of everything of the named features, and of looking at some others."""
    patterns = (f"{feature}:*" for feature in features)
    return Grant(frozenset(patterns) | {f"{feature}:read" for feature in reads})


def intersect(ours: Iterable[str], theirs: Iterable[str]) -> frozenset[str]:
    """Return the patterns that both sets of patterns grant."""
    pairs = ((_split(a), _split(b)) for a in ours for b in theirs)
    both = ((_meet(a[0], b[0]), _meet(a[1], b[1])) for a, b in pairs)
    return frozenset(f"{feature}:{right}" for feature, right in both if feature and right)


def _split(pattern: str) -> tuple[str, str]:
    feature, _, right = pattern.partition(":")
    return feature, right


def _meet(a: str, b: str) -> str:
    if a == "*":
        return b
    return a if b in {"*", a} else ""
