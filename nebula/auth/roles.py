"""What each role may do, as data. What is not granted here is denied."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from nebula.auth.principal import Role
from nebula.errors import InvalidInput

_PATTERN = re.compile(r"(\*|[a-z]+):(\*|[a-z]+)")


@dataclass(frozen=True)
class Grant:
    """Patterns `feature:right` that are allowed, and those denied all the same."""

    allowed: frozenset[str]
    denied: frozenset[str] = frozenset()

    def narrowed(self, other: "Grant") -> "Grant":
        """Return what both grant."""
        return Grant(intersect(self.allowed, other.allowed), self.denied | other.denied)


ROLES: dict[Role, Grant] = {
    Role.ADMIN: Grant(frozenset({"*:*"})),
    Role.DEVELOPER: Grant(
        frozenset({"*:read", "*:write"}),
        denied=frozenset({"users:write", "users:admin", "secrets:*", "audit:*"}),
    ),
    Role.VIEWER: Grant(
        # What Jarvis remembers of a person is that person's own, and so are their jobs.
        frozenset({"*:read", "recall:write", "jobs:write"}),
        denied=frozenset({"users:*", "secrets:*", "audit:*"}),
    ),
    Role.CLIENT: Grant(frozenset({"jarvis:read", "knowledge:read", "recall:read", "recall:write"})),
}


def of_scopes(scopes: Collection[str]) -> Grant:
    """Return the grant of an API key's scopes.

    Raises:
        InvalidInput: when a scope is not `feature:right` (either part may be `*`).
    """
    for scope in scopes:
        if not _PATTERN.fullmatch(scope):
            raise InvalidInput(
                f"{scope!r} is not a permission", hint="Write feature:right, such as gpu:read."
            )
    return Grant(frozenset(scopes))


def of_features(features: Iterable[str]) -> Grant:
    """Return the grant that allows everything of the named features only."""
    return Grant(frozenset(f"{feature}:*" for feature in features))


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
