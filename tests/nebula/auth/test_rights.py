"""User ∩ door ∩ agent ∩ session: each narrows, none widens, and rows are read on every call."""

import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nebula.app import App
from nebula.auth.grant import EVERYTHING, READ_ONLY, Grant, of_features
from nebula.auth.principal import Caller, Principal, Role, Surface
from nebula.auth.rights import SURFACES, rights_of
from nebula.auth.service import Auth
from nebula.auth.sessions import SessionGrants
from nebula.db.engine import Database
from nebula.errors import PermissionDenied
from nebula.jobs.asked import Asked, asking
from nebula.tool.audit.log import Wanted

FEATURES, RIGHTS = ("gpu", "users", "secrets"), ("read", "write", "admin")
ALL = [f"{feature}:{right}" for feature in FEATURES for right in RIGHTS]
PART = st.tuples(st.sampled_from(["*", *FEATURES]), st.sampled_from(["*", *RIGHTS]))
PATTERNS = st.frozensets(PART.map(":".join), max_size=4)
GRANTS = st.builds(Grant, PATTERNS, PATTERNS)


def who(grant: Grant) -> Principal:
    return Principal("usr_1", "ada", Role.ADMIN, grant.allowed, denied=grant.denied)


def may(principal: Principal) -> set[str]:
    return {permission for permission in ALL if principal.can(permission)}


@given(GRANTS, st.lists(GRANTS, max_size=5), st.sampled_from(Surface))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=200)
def test_a_chain_of_delegations_allows_exactly_what_every_link_allows(
    rows: Grant, links: list[Grant], surface: Surface
) -> None:
    principal = who(rows)
    for link in links:
        before = may(principal)
        principal = principal.narrowed(link)
        assert may(principal) <= before
    principal = rights_of(principal, surface)
    chain = [rows, *links, SURFACES.get(surface, EVERYTHING)]
    assert may(principal) == {p for p in ALL if all(grant.can(p) for grant in chain)}


@given(GRANTS, st.lists(GRANTS, min_size=1, max_size=4))
@settings(deadline=None, max_examples=100)
def test_what_was_narrowed_stays_narrowed_when_its_rows_are_read_again(
    rows: Grant, links: list[Grant]
) -> None:
    principal = who(rows)
    for link in links:
        principal = principal.narrowed(link)
    assert principal.frozen is not None
    richer = who(EVERYTHING).narrowed(principal.frozen)
    assert may(richer) == {p for p in ALL if all(grant.can(p) for grant in links)}
    kept = asking(Caller(principal, Surface.CHAT))["asked_as"]
    frozen = Asked.model_validate(kept).frozen
    assert frozen is not None and Grant(*frozen) == principal.frozen


@pytest.mark.parametrize(
    ("surface", "refused"),
    [
        (Surface.MCP, ["users:write", "users:admin", "secrets:read", "audit:read"]),
        (Surface.DISCORD, ["users:write", "users:admin", "secrets:read", "audit:read"]),
        (Surface.SCHEDULE, ["users:write", "users:admin", "secrets:write"]),
        (Surface.CHAT, []),
        (Surface.REST, []),
        (Surface.TERMINAL, []),
    ],
)
def test_a_door_is_narrower_than_any_person(surface: Surface, refused: list[str]) -> None:
    here = rights_of(who(EVERYTHING), surface)
    assert here.can("gpu:write")
    tried = ["users:write", "users:admin", "secrets:read", "secrets:write", "audit:read"]
    wanted = {p for p in tried if not here.can(p)}
    assert set(refused) <= wanted
    assert bool(wanted) == bool(refused)


async def test_all_four_count_at_once(auth: Auth) -> None:
    user = await auth.people.create("ada", Role.DEVELOPER)
    ada = await auth.principal_for_user("ada")
    caller = Caller(ada.narrowed(of_features(["gpu", "users"])), Surface.MCP, session_id="s1")
    effective = await auth.effective(caller)
    assert effective.can("gpu:write") and effective.can("gpu:read")
    assert not effective.can("knowledge:read"), "the agent's features"
    assert not effective.can("users:write"), "the door's limits, and the role's"
    await auth.sessions.put("s1", READ_ONLY)
    assert not (await auth.effective(caller)).can("gpu:write"), "the session's"
    assert (await auth.effective(replace(caller, session_id="s2"))).can("gpu:write")
    await auth.people.update(user.id, role=Role.CLIENT)
    assert not (await auth.effective(caller)).can("gpu:read"), "the person's rows"
    await auth.people.update(user.id, role=Role.ADMIN)
    assert not (await auth.effective(caller)).can("knowledge:read"), "however rich they get"


async def test_a_session_narrowed_by_another_process_is_narrow_within_a_second(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = SessionGrants(database), SessionGrants(database)
    assert await here.of("s1") is None
    await there.put("s1", READ_ONLY)
    later = time.monotonic() + 1.0
    monkeypatch.setattr("nebula.auth.sessions.time.monotonic", lambda: later)
    assert await here.of("s1") == READ_ONLY and await here.of("s2") is None
    await there.put("s1", None)
    later += 1.0
    assert await here.of("s1") is None


@pytest.fixture
def caller(app: App, developer: Principal) -> Caller:
    return Caller(developer, Surface.CHAT, session_id="s1")


async def test_the_executor_knows_an_agent_s_limits_and_records_what_it_refuses(
    app: App, caller: Caller
) -> None:
    librarian = replace(
        caller,
        principal=caller.principal.narrowed(of_features(["knowledge"])),
        agent="librarian",
        by_model=True,
    )
    with pytest.raises(PermissionDenied, match="services:read"):
        await app.executor.execute("services_list", {}, caller=librarian, call_id="c1")
    await app.executor.execute("services_list", {}, caller=caller, call_id="c2")
    lines = await app.parts.audit.search(Wanted(tool="services_list"))
    assert [(line.outcome, line.detail.get("agent")) for line in reversed(lines)] == [
        ("permission_denied", "librarian"),
        ("ok", None),
    ]


async def test_a_session_for_looking_only_lets_nothing_change(app: App, caller: Caller) -> None:
    await app.parts.auth.sessions.put("s1", READ_ONLY)
    await app.executor.execute("services_list", {}, caller=caller, call_id="c1")
    arguments: dict[str, Any] = {"text": "Ada likes tea"}
    with pytest.raises(PermissionDenied, match="recall:write"):
        await app.executor.execute("recall_save", arguments, caller=caller, call_id="c2")
    await app.parts.auth.sessions.put("s1", None)
    await app.executor.execute("recall_save", arguments, caller=caller, call_id="c3")
