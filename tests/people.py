"""People to test with, for tests that need no database rows."""

from nebula.auth.principal import Caller, Principal, Role, Surface
from nebula.policy.labels import Label

PERMISSIONS = {
    "admin": frozenset({"*:*"}),
    "developer": frozenset({"*:read", "*:write"}),
    "viewer": frozenset({"*:read"}),
    "client": frozenset({"knowledge:read"}),
}


def principal(role: str = "admin") -> Principal:
    """Return somebody with a role's usual permissions."""
    return Principal(f"usr_{role}", role, Role(role), PERMISSIONS[role])


def caller(
    role: str = "admin",
    *,
    surface: Surface = Surface.REST,
    labels: frozenset[Label] = frozenset({Label.USER}),
    by_model: bool = False,
) -> Caller:
    """Return somebody asking through a door."""
    return Caller(principal(role), surface, labels=labels, by_model=by_model)
