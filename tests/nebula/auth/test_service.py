"""Signing in, being someone, and ceasing to be."""

import asyncio
import time
from datetime import timedelta

import pytest
from argon2 import PasswordHasher
from sqlalchemy import text

from nebula.auth.models import UserRow
from nebula.auth.passwords import Passwords
from nebula.auth.principal import Principal, Role
from nebula.auth.service import Auth
from nebula.auth.settings import AuthSettings
from nebula.db.engine import Database
from nebula.errors import (
    Conflict,
    InvalidInput,
    NotAuthenticated,
    NotFound,
    PermissionDenied,
    RateLimited,
)
from nebula.settings import Settings

PASSWORD = "correct horse battery"


async def test_a_right_password_opens_a_session_that_knows_its_user(auth: Auth) -> None:
    user = await auth.people.create("Ada", Role.DEVELOPER, password=PASSWORD)
    signed_in = await auth.sign_in("ada", PASSWORD, device="Firefox", address="10.0.0.2")
    principal = await auth.principal_for_session(signed_in.token)
    assert (principal.id, principal.name, principal.role) == (user.id, "Ada", Role.DEVELOPER)
    assert [login.device for login in await auth.logins.list(user.id)] == ["Firefox"]


@pytest.mark.parametrize("password", ["wrong password", "", "x" * 100_000, "nul\x00byte", "\ud800"])
async def test_a_wrong_password_is_refused(auth: Auth, password: str) -> None:
    await auth.people.create("ada", Role.VIEWER, password=PASSWORD)
    with pytest.raises(NotAuthenticated, match="name or the password"):
        await auth.sign_in("ada", password)


@pytest.mark.parametrize("name", ["nobody", "", "\x00", "a" * 10_000, "\ud800", "ada\u202e"])
async def test_an_unknown_name_is_refused_in_the_same_words(auth: Auth, name: str) -> None:
    with pytest.raises(NotAuthenticated, match="name or the password"):
        await auth.sign_in(name, PASSWORD)


async def test_an_unknown_name_takes_as_long_as_a_wrong_password(
    database: Database, settings: Settings
) -> None:
    slow = Passwords(PasswordHasher(time_cost=4, memory_cost=32_768, parallelism=1))
    auth = Auth(database, settings, limits=AuthSettings(free_failures=99), passwords=slow)
    await auth.people.create("ada", Role.VIEWER, password=PASSWORD)

    async def seconds(name: str) -> float:
        started = time.perf_counter()
        with pytest.raises(NotAuthenticated):
            await auth.sign_in(name, "wrong password")
        return time.perf_counter() - started

    await seconds("nobody")
    known = min([await seconds("ada") for _ in range(5)])
    unknown = min([await seconds("nobody") for _ in range(5)])
    assert 0.3 < unknown / known < 3


async def test_a_user_without_password_cannot_sign_in_with_one(auth: Auth) -> None:
    await auth.people.create("ada", Role.VIEWER)
    with pytest.raises(NotAuthenticated):
        await auth.sign_in("ada", "")


async def test_guessing_is_slowed_down_per_name_even_with_many_tries_at_once(auth: Auth) -> None:
    await auth.people.create("ada", Role.VIEWER, password=PASSWORD)
    tries = [auth.sign_in("ada", f"guess {n}", address=f"10.0.0.{n}") for n in range(12)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(o, NotAuthenticated) for o in outcomes) == 5
    assert sum(isinstance(o, RateLimited) for o in outcomes) == 7
    with pytest.raises(RateLimited):
        await auth.sign_in("ada", PASSWORD)


async def test_guessing_many_names_is_slowed_down_per_address(auth: Auth) -> None:
    for n in range(20):
        with pytest.raises(NotAuthenticated):
            await auth.sign_in(f"user{n}", "guess guess", address="10.0.0.9")
    with pytest.raises(RateLimited):
        await auth.sign_in("user99", "guess guess", address="10.0.0.9")


async def test_a_right_password_forgives_earlier_failures(auth: Auth) -> None:
    await auth.people.create("ada", Role.VIEWER, password=PASSWORD)
    for _ in range(3):
        for _ in range(4):
            with pytest.raises(NotAuthenticated):
                await auth.sign_in("ada", "wrong password")
        await auth.sign_in("ada", PASSWORD)


async def test_waiting_ends_the_throttle(auth: Auth, database: Database) -> None:
    await auth.people.create("ada", Role.VIEWER, password=PASSWORD)
    for _ in range(5):
        with pytest.raises(NotAuthenticated):
            await auth.sign_in("ada", "wrong password")
    async with database.session() as s:
        await s.execute(text("UPDATE auth_attempts SET last_at = now() - interval '6 minutes'"))
    await auth.sign_in("ada", PASSWORD)


async def test_a_hash_with_old_costs_is_renewed_when_the_password_is_used(
    auth: Auth, database: Database, settings: Settings
) -> None:
    user = await auth.people.create("ada", Role.VIEWER, password=PASSWORD)
    dearer = Passwords(PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    await Auth(database, settings, passwords=dearer).sign_in("ada", PASSWORD)
    async with database.session() as s:
        row = await s.get_one(UserRow, user.id)
    assert "m=16,t=2" in (row.password_hash or "")
    await auth.sign_in("ada", PASSWORD)


async def test_a_link_works_once_even_when_used_many_times_at_once(auth: Auth) -> None:
    user = await auth.people.create("ada", Role.VIEWER)
    token = (await auth.sign_in_link("ada")).rpartition("/")[2]
    outcomes = await asyncio.gather(
        *[auth.logins.use_link(token) for _ in range(8)], return_exceptions=True
    )
    refused = [o for o in outcomes if isinstance(o, NotAuthenticated)]
    assert len(refused) == 7
    assert len(await auth.logins.list(user.id)) == 1


async def test_an_expired_link_and_a_replaced_link_are_refused(
    auth: Auth, database: Database
) -> None:
    await auth.people.create("ada", Role.VIEWER)
    first = (await auth.sign_in_link("ada")).rpartition("/")[2]
    second = (await auth.sign_in_link("ada")).rpartition("/")[2]
    with pytest.raises(NotAuthenticated):
        await auth.logins.use_link(first)
    async with database.session() as s:
        await s.execute(text("UPDATE auth_links SET expires_at = now() - interval '1 second'"))
    with pytest.raises(NotAuthenticated):
        await auth.logins.use_link(second)


async def test_tokens_and_keys_are_nowhere_in_the_database(auth: Auth, database: Database) -> None:
    user = await auth.people.create("ada", Role.VIEWER, password=PASSWORD)
    signed_in = await auth.sign_in("ada", PASSWORD)
    key = await auth.keys.create(user.id, "ci", role=Role.VIEWER)
    link = (await auth.sign_in_link("ada")).rpartition("/")[2]
    async with database.session() as s:
        tables = ("users", "auth_sessions", "api_keys", "auth_links", "auth_attempts")
        rows = [str((await s.execute(text(f"SELECT * FROM {t}"))).all()) for t in tables]
    assert not any(secret in "".join(rows) for secret in (signed_in.token, key.key, link, PASSWORD))


@pytest.mark.parametrize(
    "change",
    [
        "seen_at = now() - interval '8 days'",
        "expires_at = now() - interval '1 second'",
        "revoked_at = now()",
    ],
)
async def test_an_idle_expired_or_revoked_session_is_refused(
    auth: Auth, database: Database, change: str
) -> None:
    await auth.people.create("ada", Role.VIEWER, password=PASSWORD)
    token = (await auth.sign_in("ada", PASSWORD)).token
    async with database.session() as s:
        await s.execute(text(f"UPDATE auth_sessions SET {change}"))
    with pytest.raises(NotAuthenticated):
        await auth.principal_for_session(token)


SOON = timedelta(minutes=5)


async def test_a_sign_in_is_fresh_for_a_while_and_again_after_the_password(
    auth: Auth, database: Database
) -> None:
    await auth.people.create("ada", Role.ADMIN, password=PASSWORD)
    ada = (await auth.sign_in("ada", PASSWORD)).principal
    assert await auth.is_fresh(ada, SOON)
    async with database.session() as s:
        await s.execute(text("UPDATE auth_sessions SET proven_at = now() - interval '6 minutes'"))
    assert not await auth.is_fresh(ada, SOON)
    with pytest.raises(NotAuthenticated):
        await auth.prove(ada, "wrong password")
    assert not await auth.is_fresh(ada, SOON)
    await auth.prove(ada, PASSWORD)
    assert await auth.is_fresh(ada, SOON)


async def test_the_password_again_gives_the_session_another_token(auth: Auth) -> None:
    await auth.people.create("ada", Role.ADMIN, password=PASSWORD)
    first = await auth.sign_in("ada", PASSWORD)
    assert (await auth.principal_for_session(first.token)).login_id
    second = await auth.prove(first.principal, PASSWORD)
    assert second.principal.login_id == first.principal.login_id
    with pytest.raises(NotAuthenticated):
        await auth.principal_for_session(first.token)
    assert (await auth.principal_for_session(second.token)).name == "ada"
    assert (await auth.current(first.principal)).name == "ada"


async def test_a_new_link_makes_a_fresh_sign_in_for_who_has_no_password(auth: Auth) -> None:
    await auth.people.create("ada", Role.ADMIN)

    async def by_link() -> Principal:
        token = (await auth.sign_in_link("ada")).rpartition("/")[2]
        return (await auth.logins.use_link(token)).principal

    first = await by_link()
    with pytest.raises(Conflict, match="no password"):
        await auth.prove(first, PASSWORD)
    assert await auth.is_fresh(await by_link(), SOON)


async def test_keys_and_ended_sign_ins_are_never_fresh(auth: Auth) -> None:
    user = await auth.people.create("ada", Role.ADMIN, password=PASSWORD)
    key = await auth.keys.create(user.id, "ci", role=Role.ADMIN)
    program = await auth.principal_for_key(key.key)
    person = await auth.principal_for_user("ada")
    ended = (await auth.sign_in("ada", PASSWORD)).principal
    await auth.logins.end_all(user.id)
    for who in (program, person, ended):
        assert not await auth.is_fresh(who, SOON)
        with pytest.raises((PermissionDenied, NotAuthenticated)):
            await auth.prove(who, PASSWORD)


async def test_guessing_the_password_again_is_slowed_down_too(auth: Auth) -> None:
    await auth.people.create("ada", Role.ADMIN, password=PASSWORD)
    ada = (await auth.sign_in("ada", PASSWORD)).principal
    for _ in range(5):
        with pytest.raises(NotAuthenticated):
            await auth.prove(ada, "guess guess")
    with pytest.raises(RateLimited):
        await auth.prove(ada, PASSWORD)


async def test_signing_out_ends_this_session_and_signing_out_everywhere_the_others(
    auth: Auth,
) -> None:
    user = await auth.people.create("ada", Role.VIEWER, password=PASSWORD)
    tokens = [(await auth.sign_in("ada", PASSWORD)).token for _ in range(3)]
    first, second, third = [await auth.principal_for_session(t) for t in tokens]
    assert first.login_id and second.login_id
    await auth.logins.end(first.login_id, user_id=user.id)
    with pytest.raises(NotAuthenticated):
        await auth.current(first)
    with pytest.raises(NotFound):
        await auth.logins.end(second.login_id, user_id="usr_somebody_else")
    assert await auth.logins.end_all(user.id, except_id=second.login_id) == 1
    assert (await auth.current(second)).id == user.id
    with pytest.raises(NotAuthenticated):
        await auth.current(third)


async def test_a_change_made_by_another_process_takes_effect_within_a_second(
    auth: Auth, database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await auth.people.create("ada", Role.DEVELOPER)
    key = await auth.keys.create(user.id, "ci", role=Role.ADMIN)
    principal = await auth.principal_for_key(key.key)
    assert principal.can("gpu:write")
    other = Auth(database, settings)
    await other.people.update("ada", role=Role.VIEWER)
    later = time.monotonic() + 1.0
    monkeypatch.setattr("nebula.auth.principals.time.monotonic", lambda: later)
    assert not (await auth.current(principal)).can("gpu:write")
    await other.people.update("ada", enabled=False)
    later += 1.0
    for refused in (auth.current(principal), auth.principal_for_key(key.key)):
        with pytest.raises(NotAuthenticated):
            await refused


async def test_a_change_made_in_this_process_takes_effect_at_once(auth: Auth) -> None:
    user = await auth.people.create("ada", Role.DEVELOPER, password=PASSWORD)
    principal = await auth.principal_for_session((await auth.sign_in("ada", PASSWORD)).token)
    await auth.people.update(user.id, role=Role.CLIENT)
    assert not (await auth.current(principal)).can("gpu:read")
    await auth.people.update(user.id, password="another password")
    with pytest.raises(NotAuthenticated):
        await auth.current(principal)
    await auth.people.delete("ada")
    with pytest.raises(NotAuthenticated):
        await auth.principal_for_user(user.id)


async def test_the_last_administrator_stays(auth: Auth) -> None:
    ada = await auth.people.create("ada", Role.ADMIN)
    await auth.people.update((await auth.people.create("bob", Role.ADMIN)).id, enabled=False)
    for leave in (
        auth.people.delete("ada"),
        auth.people.update(ada.id, role=Role.CLIENT),
        auth.people.update("Ada", enabled=False),
    ):
        with pytest.raises(Conflict, match="last administrator"):
            await leave


async def test_of_all_administrators_leaving_at_once_one_stays(auth: Auth) -> None:
    names = [f"admin {n}" for n in range(8)]
    for name in names:
        await auth.people.create(name, Role.VIEWER)
    for _ in range(5):
        for name in names:
            await auth.people.update(name, role=Role.ADMIN)
        leaving = [auth.people.update(name, role=Role.VIEWER) for name in names]
        outcomes = await asyncio.gather(*leaving, return_exceptions=True)
        assert sum(isinstance(o, Conflict) for o in outcomes) == 1
        assert len([u for u in await auth.people.list() if u.role is Role.ADMIN]) == 1


async def test_the_first_start_makes_an_administrator_whose_link_signs_in_once(auth: Auth) -> None:
    made = await asyncio.gather(auth.ensure_admin(), auth.ensure_admin())
    assert all(made)
    assert [u.role for u in await auth.people.list()] == [Role.ADMIN]
    link = await auth.ensure_admin()
    assert link and link.startswith("http://127.0.0.1:8420/api/auth/link/")
    signed_in = await auth.logins.use_link(link.rpartition("/")[2])
    assert signed_in.principal.can("users:admin")
    assert await auth.ensure_admin() is None
    assert (await auth.first_administrator()).id == signed_in.principal.id


async def test_a_key_grants_no_more_than_owner_role_and_scopes_together(auth: Auth) -> None:
    owner = await auth.people.create("ada", Role.VIEWER)
    key = await auth.keys.create(owner.id, "ci", role=Role.ADMIN, scopes=["gpu:*", "users:read"])
    principal = await auth.principal_for_key(key.key)
    assert principal.can("gpu:read")
    for refused in ("gpu:write", "users:read", "knowledge:read"):
        assert not principal.can(refused)
    assert key.key.startswith(key.prefix) and len(key.prefix) < 12


async def test_a_revoked_expired_or_malformed_key_is_refused(
    auth: Auth, database: Database
) -> None:
    owner = await auth.people.create("ada", Role.VIEWER)
    revoked = await auth.keys.create(owner.id, "old", role=Role.VIEWER)
    principal = await auth.principal_for_key(revoked.key)
    await auth.keys.revoke(revoked.id)
    with pytest.raises(NotAuthenticated):
        await auth.current(principal)
    with pytest.raises(NotFound):
        await auth.keys.revoke(revoked.id)
    expired = await auth.keys.create(owner.id, "brief", role=Role.VIEWER, days=1)
    async with database.session() as s:
        await s.execute(text("UPDATE api_keys SET expires_at = now()"))
    for key in (revoked.key, expired.key, "jk_", "sk-123", "jk_\ud800"):
        with pytest.raises(NotAuthenticated):
            await auth.principal_for_key(key)
    assert not await auth.keys.list(owner.id)


@pytest.mark.parametrize(
    ("name", "scopes", "days"),
    [("", None, None), ("ci", ["gpu"], None), ("ci", ["gpu:read;"], None), ("ci", None, 0.0)],
)
async def test_a_malformed_key_request_is_refused(
    auth: Auth, name: str, scopes: list[str] | None, days: float | None
) -> None:
    owner = await auth.people.create("ada", Role.VIEWER)
    with pytest.raises(InvalidInput):
        await auth.keys.create(owner.id, name, role=Role.VIEWER, scopes=scopes, days=days)


async def test_using_a_key_is_noted(auth: Auth) -> None:
    owner = await auth.people.create("ada", Role.VIEWER)
    key = await auth.keys.create(owner.id, "ci", role=Role.VIEWER)
    assert key.used_at is None
    await auth.principal_for_key(key.key)
    (seen,) = await auth.keys.list(owner.id)
    assert seen.used_at is not None


async def test_a_role_sees_only_the_features_it_was_given(auth: Auth) -> None:
    await auth.people.create("ada", Role.DEVELOPER)
    principal = await auth.principal_for_user("ada")
    await auth.principals.set_features(Role.DEVELOPER, ["gpu", "secrets"])
    seen = await auth.current(principal)
    assert seen.can("gpu:write") and not seen.can("knowledge:read") and not seen.can("secrets:read")
    assert (await auth.principals.features())[Role.DEVELOPER] == ["gpu", "secrets"]
    await auth.principals.set_features(Role.DEVELOPER, None)
    assert (await auth.current(principal)).can("knowledge:read")


async def test_administrators_cannot_hide_the_users_feature_from_themselves(auth: Auth) -> None:
    with pytest.raises(InvalidInput):
        await auth.principals.set_features(Role.ADMIN, ["gpu"])


async def test_names_that_look_alike_are_taken_only_once(auth: Auth) -> None:
    await auth.people.create("ada", Role.VIEWER)
    for twin in ("ADA", "\uff41\uff44\uff41", "\u0430\u0501\u0430", " ada "):
        with pytest.raises(Conflict):
            await auth.people.create(twin, Role.VIEWER)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "a" * 65,
        "a\x00b",
        "a\u200bb",
        "a\u202eb",
        "\u0430da",
        "a/b",
        "<b>",
        "usr_1",
        "\ud800",
    ],
)
async def test_an_unacceptable_name_is_refused(auth: Auth, name: str) -> None:
    with pytest.raises(InvalidInput):
        await auth.people.create(name, Role.VIEWER)


@pytest.mark.parametrize("name", ["Jürgen", "Мария", "山田太郎", "ops@home.example", "R2 D2"])
async def test_names_of_many_languages_are_accepted(auth: Auth, name: str) -> None:
    assert (await auth.people.create(name, Role.VIEWER)).name == name


@pytest.mark.parametrize("password", ["short", "x" * 257, "ada-lovelace"])
async def test_a_weak_or_endless_password_is_refused(auth: Auth, password: str) -> None:
    with pytest.raises(InvalidInput):
        await auth.people.create("ada-lovelace", Role.VIEWER, password=password)


async def test_a_password_typed_on_another_keyboard_is_the_same_password(auth: Auth) -> None:
    await auth.people.create("ada", Role.VIEWER, password="pa\u0308sswo\u0308rter")
    await auth.sign_in("ada", "pässwörter")


@pytest.mark.parametrize("user", ["nobody", "usr_nobody", "", "usr_\x00", "\ud800", "usr_\ud800"])
async def test_an_unknown_user_is_not_found(auth: Auth, user: str) -> None:
    with pytest.raises(NotFound):
        await auth.people.find(user)
