"""The effective right: what a person may, at this door, through this agent, in this session.

Each of them only narrows. A person's rows say what they may; a door may be narrower than any
person; an agent and a delegated task carry their narrowing in the principal (`narrowed`); a
session has a row of its own. Operators narrow doors further in their policy.
"""

from collections.abc import Mapping

from nebula.auth.grant import EVERYTHING, Grant
from nebula.auth.principal import Principal, Surface

_NO_PEOPLE = frozenset({"users:write", "users:admin"})
_NO_SECRETS = frozenset({"secrets:write", "secrets:admin"})

SURFACES: Mapping[Surface, Grant] = {
    # Who may come in, what secrets there are and what is on record: not for programs of others,
    # whose model has read what we do not know.
    Surface.MCP: Grant(EVERYTHING.allowed, _NO_PEOPLE | frozenset({"secrets:*", "audit:*"})),
    # Whoever is in the room reads along.
    Surface.DISCORD: Grant(EVERYTHING.allowed, _NO_PEOPLE | frozenset({"secrets:*", "audit:*"})),
    # Nobody is there.
    Surface.SCHEDULE: Grant(EVERYTHING.allowed, _NO_PEOPLE | _NO_SECRETS),
}
"""What a door may be used for at most, whoever stands there; a door that is left out is not narrowed."""


def rights_of(principal: Principal, surface: Surface, session: Grant | None = None) -> Principal:
    """Return a principal cut down to what its door and its session allow."""
    for grant in (SURFACES.get(surface), session):
        if grant is not None:
            principal = principal.narrowed(grant)
    return principal
