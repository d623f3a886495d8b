"""The users tools: for administrators, after a person approved, and never for the last of them."""

from typing import Any

import pytest

from nebula.app import App
from nebula.auth.principal import Caller, Principal, Role, Surface
from nebula.errors import (
    ApprovalRequired,
    Conflict,
    InvalidInput,
    NotAuthenticated,
    NotFound,
    PermissionDenied,
)
from nebula.tool.render import to_markdown

CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("users_create", {"name": "bob", "role": "viewer"}),
    ("users_update", {"user": "client", "role": "viewer"}),
    ("users_delete", {"user": "client"}),
    ("users_set_modules", {"role": "viewer", "features": ["users"]}),
]


async def approved(app: App, who: Principal, name: str, arguments: dict[str, Any]) -> Any:
    """Call a tool as a person does who then approves it."""
    caller = Caller(who, Surface.REST)
    call_id = f"{name}-{arguments}"
    with pytest.raises(ApprovalRequired) as waiting:
        await app.executor.execute(name, arguments, caller=caller, call_id=call_id)
    await app.parts.approvals.decide(
        waiting.value.approval_id, decision="approve", by=who, surface=Surface.TERMINAL
    )
    return await app.executor.execute(name, arguments, caller=caller, call_id=call_id)


@pytest.mark.parametrize(("name", "arguments"), CHANGES)
async def test_a_change_waits_for_approval_and_then_works(
    app: App, admin: Principal, client: Principal, name: str, arguments: dict[str, Any]
) -> None:
    result = await approved(app, admin, name, arguments)
    assert to_markdown(result.render())


@pytest.mark.parametrize(("name", "arguments"), CHANGES)
async def test_a_change_is_denied_to_everyone_but_administrators(
    app: App, developer: Principal, name: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(PermissionDenied):
        await app.executor.execute(
            name, arguments, caller=Caller(developer, Surface.REST), call_id="c1"
        )


async def test_users_list_shows_everyone_and_what_their_roles_see(
    app: App, admin: Principal, client: Principal
) -> None:
    await app.parts.auth.principals.set_features(Role.CLIENT, ["knowledge"])
    result = await app.executor.execute(
        "users_list", {}, caller=Caller(admin, Surface.REST), call_id="c1"
    )
    shown = to_markdown(result.render())
    assert "admin" in shown and "client" in shown and "knowledge" in shown


async def test_users_update_takes_effect_on_the_users_next_call(
    app: App, admin: Principal, client: Principal
) -> None:
    await approved(app, admin, "users_update", {"user": "client", "enabled": False})
    with pytest.raises(NotAuthenticated):
        await app.parts.auth.current(client)


async def test_users_delete_and_users_update_keep_the_last_administrator(
    app: App, admin: Principal
) -> None:
    for name, arguments in (
        ("users_delete", {"user": "admin"}),
        ("users_update", {"user": admin.id, "role": "viewer"}),
        ("users_update", {"user": admin.id, "enabled": False}),
    ):
        with pytest.raises(Conflict, match="last administrator"):
            await approved(app, admin, name, arguments)


async def test_users_create_refuses_a_name_that_is_taken_or_looks_taken(
    app: App, admin: Principal
) -> None:
    with pytest.raises(Conflict):
        await approved(app, admin, "users_create", {"name": "ADMIN"})


async def test_users_set_modules_hides_features_from_a_role(
    app: App, admin: Principal, viewer: Principal
) -> None:
    await approved(app, admin, "users_set_modules", {"role": "viewer", "features": ["gpu"]})
    seen = app.executor.visible(
        await app.parts.auth.current(viewer), by_model=False, surface=Surface.REST
    )
    assert {tool.feature for tool in seen} == {"gpu"}
    await approved(app, admin, "users_set_modules", {"role": "viewer"})
    with pytest.raises(InvalidInput, match="no feature"):
        await approved(app, admin, "users_set_modules", {"role": "viewer", "features": ["nope"]})


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("users_update", {"user": "nobody", "role": "viewer"}, NotFound),
        ("users_update", {"user": "admin"}, InvalidInput),
        ("users_delete", {"user": "nobody\u202e"}, NotFound),
        ("users_create", {"name": "a\u200bb"}, InvalidInput),
    ],
)
async def test_a_change_that_makes_no_sense_is_refused(
    app: App, admin: Principal, name: str, arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await approved(app, admin, name, arguments)


async def test_the_question_shows_the_account_and_is_void_when_it_is_another(
    app: App, admin: Principal, client: Principal
) -> None:
    call: dict[str, Any] = {"caller": Caller(admin, Surface.REST), "call_id": "c1"}
    with pytest.raises(ApprovalRequired) as waiting:
        await app.executor.execute("users_delete", {"user": "client"}, **call)
    approval_id = waiting.value.approval_id
    asked = await app.parts.approvals.get(approval_id, admin)
    assert "client" in to_markdown(asked.evidence.preview)
    decide = app.parts.approvals.decide
    await decide(approval_id, decision="approve", by=admin, surface=Surface.TERMINAL)
    await app.parts.auth.people.delete("client")
    await app.parts.auth.people.create("client", Role.DEVELOPER)
    with pytest.raises(PermissionDenied, match="what it would change"):
        await app.executor.execute("users_delete", {"user": "client"}, **call)
    assert await app.parts.auth.people.find("client")
