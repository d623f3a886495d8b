"""Who came in, who failed to, and which keys there were, in the audit log."""

import pytest
from sqlalchemy import text

from nebula.auth.principal import Role
from nebula.auth.service import Auth
from nebula.db.engine import Database
from nebula.errors import NotAuthenticated
from nebula.tool.audit.log import Audit, AuditLine

PASSWORD = "correct horse battery"


async def lines(database: Database) -> list[AuditLine]:
    return list(reversed(await Audit(database).search()))


async def told(database: Database) -> list[tuple[str, str, str]]:
    return [(line.tool, line.principal, line.outcome) for line in await lines(database)]


async def test_signing_in_and_out_are_lines_with_device_and_address(
    auth: Auth, database: Database
) -> None:
    user = await auth.people.create("ada", Role.VIEWER, password=PASSWORD)
    done = await auth.sign_in("ADA", PASSWORD, device="Firefox", address="10.0.0.2")
    assert done.principal.login_id is not None
    await auth.logins.end(done.principal.login_id, user_id=user.id)
    first, second = await lines(database)
    assert (first.tool, first.principal, first.outcome) == ("auth_sign_in", "ada", "ok")
    assert first.detail == {
        "by": "password", "login": done.principal.login_id, "device": "Firefox",
        "address": "10.0.0.2",
    }  # fmt: skip
    assert (second.tool, second.principal) == ("auth_sign_out", "ada")


async def test_a_wrong_password_is_a_line_without_the_password_and_without_an_unknown_name(
    auth: Auth, database: Database
) -> None:
    await auth.people.create("ada", Role.VIEWER, password=PASSWORD)
    for name, password in (("ada", "wrong horse"), ("hunter2-typed-here", PASSWORD)):
        with pytest.raises(NotAuthenticated):
            await auth.sign_in(name, password, address="10.0.0.3")
    known, unknown = await lines(database)
    assert (known.principal, known.outcome) == ("ada", "denied")
    assert (unknown.principal, unknown.outcome) == ("nobody", "denied")
    async with database.session() as session:
        kept = " ".join((await session.scalars(text("SELECT payload FROM audit_log"))).all())
    assert "horse" not in kept and "hunter2" not in kept


async def test_links_keys_and_new_passwords_are_lines_without_what_they_hold(
    auth: Auth, database: Database
) -> None:
    user = await auth.people.create("ada", Role.ADMIN, password=PASSWORD)
    token = (await auth.sign_in_link("ada")).rsplit("/", 1)[-1]
    await auth.logins.use_link(token)
    key = await auth.keys.create(user.id, "ci", role=Role.VIEWER, scopes=["gpu:read"])
    await auth.keys.revoke(key.id)
    await auth.people.update("ada", password="another horse battery")
    assert await told(database) == [
        ("auth_link_create", "ada", "ok"),
        ("auth_sign_in", "ada", "ok"),
        ("auth_key_create", "ada", "ok"),
        ("auth_key_revoke", "ada", "ok"),
        ("auth_password_set", "ada", "ok"),
    ]
    kept = str([line.detail for line in await lines(database)])
    assert key.key not in kept and token not in kept and "gpu:read" in kept


async def test_confirming_with_the_password_again_is_a_line(auth: Auth, database: Database) -> None:
    await auth.people.create("ada", Role.ADMIN, password=PASSWORD)
    done = await auth.sign_in("ada", PASSWORD)
    await auth.prove(done.principal, PASSWORD)
    assert [line[0] for line in await told(database)] == ["auth_sign_in", "auth_confirm"]
