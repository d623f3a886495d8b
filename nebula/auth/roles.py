"""What each role may do, as data. What is not granted here is denied."""

import re
from collections.abc import Collection

from nebula.auth.grant import Grant
from nebula.auth.principal import Role
from nebula.errors import InvalidInput

_PATTERN = re.compile(r"(\*|[a-z]+):(\*|[a-z]+)")


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
