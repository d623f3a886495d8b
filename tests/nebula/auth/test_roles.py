"""What roles grant, and how grants combine."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nebula.auth.grant import Grant, intersect
from nebula.auth.principal import Principal, Role
from nebula.auth.roles import ROLES

PART = st.sampled_from(["*", "gpu", "users", "read", "write"])
PATTERNS = st.frozensets(st.tuples(PART, PART).map(":".join), max_size=5)


def _who(grant: Grant) -> Principal:
    return Principal("usr_1", "ada", Role.VIEWER, grant.allowed, denied=grant.denied)


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        (Role.ADMIN, ["users:admin", "secrets:write", "audit:read", "gpu:write"], []),
        (
            Role.DEVELOPER,
            ["gpu:read", "gpu:write", "users:read"],
            [
                "users:admin",
                "users:write",
                "secrets:read",
                "secrets:write",
                "gpu:admin",
                "audit:read",
            ],
        ),
        (
            Role.VIEWER,
            ["gpu:read", "jarvis:read"],
            ["gpu:write", "users:read", "secrets:read", "audit:read"],
        ),
        (
            Role.CLIENT,
            ["jarvis:read", "knowledge:read", "recall:write"],
            ["jarvis:write", "knowledge:write", "gpu:read"],
        ),
    ],
)
def test_a_role_may_do_this_and_not_that(role: Role, may: list[str], may_not: list[str]) -> None:
    who = _who(ROLES[role])
    assert all(who.can(p) for p in may)
    assert not any(who.can(p) for p in may_not)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ours=PATTERNS, theirs=PATTERNS, feature=PART, right=PART)
def test_an_intersection_grants_exactly_what_both_grant(
    ours: frozenset[str], theirs: frozenset[str], feature: str, right: str
) -> None:
    if "*" in {feature, right}:
        return
    wanted = f"{feature}:{right}"
    both = _who(Grant(intersect(ours, theirs))).can(wanted)
    assert both == (_who(Grant(ours)).can(wanted) and _who(Grant(theirs)).can(wanted))
