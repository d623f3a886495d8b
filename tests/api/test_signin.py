"""Signing in and out through the door, and what other sites cannot make a browser do."""

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI
from pydantic import ValidationError
from sqlalchemy import text

from api.server import create_server
from nebula.app import App
from nebula.auth.cookies import COOKIE
from nebula.auth.principal import Role
from nebula.db.engine import Database
from nebula.errors import NotAuthenticated
from nebula.settings import Settings
from tests.api.conftest import SITE, Door, opened

PASSWORD = "correct horse battery"
OTHER = "http://evil.test"


async def link_of(app: App, name: str) -> str:
    return (await app.parts.auth.sign_in_link(name)).removeprefix(app.parts.settings.link)


async def test_signing_in_sets_a_cookie_that_scripts_and_other_sites_cannot_use(
    nobody: httpx.AsyncClient, app: App
) -> None:
    await app.parts.auth.people.create("ada", Role.ADMIN, password=PASSWORD)
    answer = await nobody.post("/api/auth/sign-in", json={"name": "Ada", "password": PASSWORD})
    assert answer.json()["user"]["name"] == "ada"
    cookie = answer.headers["set-cookie"]
    assert all(part in cookie for part in (f"{COOKIE}=", "HttpOnly", "SameSite=lax", "Path=/"))
    assert "Secure" not in cookie
    assert nobody.cookies[COOKIE] not in answer.text
    assert (await nobody.get("/api/auth/me")).json()["by"] == "session"


async def test_the_cookie_is_secure_behind_https(settings: Settings, wire: object) -> None:
    made = create_server(settings.model_copy(update={"public_url": "https://jarvis.example"}))
    async with opened(made) as server:
        await server.state.doors.app.parts.auth.people.create("ada", Role.ADMIN, password=PASSWORD)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(server), base_url=SITE) as http:
            body = {"name": "ada", "password": PASSWORD}
            for origin in ("https://jarvis.example", SITE):
                answer = await http.post("/api/auth/sign-in", json=body, headers={"Origin": origin})
                cookie = answer.headers["set-cookie"]
                assert cookie.startswith(f"__Host-{COOKIE}=")
                assert "Secure" in cookie and "Path=/" in cookie and "Domain" not in cookie
            assert answer.headers["strict-transport-security"] == "max-age=31536000"
            token = cookie.partition("=")[2].partition(";")[0]
            for name, status in ((f"__Host-{COOKIE}", 200), (COOKIE, 401)):
                headers = {"Cookie": f"{name}={token}"}
                http.cookies.clear()
                assert (await http.get("/api/auth/me", headers=headers)).status_code == status


@pytest.mark.parametrize("name", ["ada", "nobody", "\u202e", "' OR 1=1 --"])
async def test_a_wrong_name_and_a_wrong_password_look_the_same(
    nobody: httpx.AsyncClient, app: App, name: str
) -> None:
    await app.parts.auth.people.create("ada", Role.ADMIN, password=PASSWORD)
    answer = await nobody.post("/api/auth/sign-in", json={"name": name, "password": "wrong one"})
    assert answer.status_code == 401
    assert answer.json()["detail"] == "The name or the password is wrong"
    assert "set-cookie" not in answer.headers


async def test_guessing_is_told_to_wait(nobody: httpx.AsyncClient) -> None:
    body = {"name": "ada", "password": "wrong one"}
    statuses = [(await nobody.post("/api/auth/sign-in", json=body)).status_code for _ in range(7)]
    assert statuses[:5] == [401] * 5 and 429 in statuses[5:]


async def test_a_proxy_that_nobody_named_is_not_believed(nobody: httpx.AsyncClient) -> None:
    async def guess(number: int) -> int:
        body = {"name": f"user{number}", "password": "wrong one"}
        headers = {"X-Forwarded-For": f"10.0.0.{number}", "X-Remote-User": "admin"}
        return (await nobody.post("/api/auth/sign-in", json=body, headers=headers)).status_code

    assert [await guess(n) for n in range(20)] == [401] * 20
    assert await guess(20) == 429, "they all came from one address"


@pytest.fixture
def proxies() -> str:
    return "127.0.0.0/8"


@pytest.fixture
async def behind_proxy(settings: Settings, proxies: str) -> AsyncIterator[httpx.AsyncClient]:
    made = create_server(settings.model_copy(update={"trusted_proxies": proxies}))
    async with (
        opened(made) as server,
        httpx.AsyncClient(transport=httpx.ASGITransport(server), base_url=SITE) as http,
    ):
        yield http


async def test_guessing_is_counted_per_address_behind_a_trusted_proxy(
    behind_proxy: httpx.AsyncClient,
) -> None:
    nobody = behind_proxy

    async def guess(number: int, address: str) -> int:
        body = {"name": f"user{number}", "password": "wrong one"}
        headers = {"X-Forwarded-For": f"1.2.3.{number}, {address}"}
        return (await nobody.post("/api/auth/sign-in", json=body, headers=headers)).status_code

    assert [await guess(n, "10.0.0.9") for n in range(20)] == [401] * 20
    assert await guess(20, "10.0.0.9") == 429
    assert await guess(21, "10.0.0.8") == 401


@pytest.mark.parametrize("listed", ["nonsense", "10.0.0.0/99"])
def test_a_proxy_that_is_no_network_stops_the_start(listed: str) -> None:
    with pytest.raises(ValidationError, match="trusted_proxies"):
        Settings(_env_file=None, trusted_proxies=listed)


async def test_signing_in_ends_the_sign_in_that_the_browser_had_before(
    nobody: httpx.AsyncClient, app: App
) -> None:
    auth = app.parts.auth
    planted = await auth.people.create("mallory", Role.VIEWER)
    await auth.people.create("ada", Role.ADMIN, password=PASSWORD)
    token = (await auth.logins.open(planted.id)).token
    nobody.cookies.set(COOKIE, token, domain="jarvis.test", path="/")
    body = {"name": "ada", "password": PASSWORD}
    assert (await nobody.post("/api/auth/sign-in", json=body)).status_code == 200
    assert nobody.cookies[COOKIE] != token
    with pytest.raises(NotAuthenticated):
        await auth.principal_for_session(token)
    assert (await nobody.get("/api/auth/me")).json()["name"] == "ada"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": SITE}, 200),
        ({"Origin": SITE, "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "", "Referer": f"{SITE}/x"}, 200),
        ({"Origin": SITE, "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "", "Referer": f"{SITE}/x", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://jarvis.test.evil.test"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
    ],
)
async def test_a_cookie_counts_for_changes_only_from_our_own_pages(
    browser: Door, headers: dict[str, str], status: int
) -> None:
    ada = await browser(Role.ADMIN)
    answer = await ada.post("/api/tools/sample_write", json={"name": "x"}, headers=headers)
    assert answer.status_code == status


async def test_every_answer_carries_the_headers_that_browsers_protect_people_by(
    nobody: httpx.AsyncClient,
) -> None:
    for path in ("/api/auth/me", "/api/docs", "/healthz", "/nowhere"):
        headers = (await nobody.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["x-frame-options"] in {"SAMEORIGIN", "DENY"}
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "geolocation=()" in headers["permissions-policy"]
        assert "strict-transport-security" not in headers
    strict = (await nobody.get("/api/auth/me")).headers["content-security-policy"]
    assert strict.startswith("default-src 'none'; frame-ancestors 'none'")


async def test_looking_at_a_link_does_not_use_it_up_but_pressing_its_button_does(
    nobody: httpx.AsyncClient, app: App
) -> None:
    await app.parts.auth.people.create("ada", Role.ADMIN)
    link = await link_of(app, "ada")
    for _ in range(3):
        page = await nobody.get(link)
        assert page.status_code == 200 and f'action="{link}"' in page.text
        assert "set-cookie" not in page.headers
        assert page.headers["cache-control"] == "no-store"
    press = {"Accept": "text/html", "Origin": SITE}
    pressed = await nobody.post(link, headers=press)
    assert (pressed.status_code, pressed.headers["location"]) == (303, "/")
    assert (await nobody.get("/api/auth/me")).json()["name"] == "ada"
    again = await nobody.post(link, headers=press)
    assert again.status_code == 401 and "does not work" in again.text


async def test_a_link_page_cannot_be_made_to_carry_markup(nobody: httpx.AsyncClient) -> None:
    page = await nobody.get("/api/auth/link/%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E")
    assert "<script" not in page.text


@pytest.mark.parametrize("origin", [OTHER, "null", "", "http://jarvis.test.evil.test", "garbage"])
async def test_another_site_cannot_use_a_signed_in_browser(browser: Door, origin: str) -> None:
    ada = await browser(Role.ADMIN)
    ada.headers["Origin"] = origin
    for method, path in (
        ("POST", "/api/tools/sample_write"),
        ("PATCH", "/api/sample/things/x"),
        ("POST", "/api/auth/sign-out"),
        ("POST", "/api/auth/keys"),
        ("DELETE", "/api/sessions/x"),
    ):
        answer = await ada.request(method, path, json={"name": "x", "number": 1})
        assert (path, answer.status_code) == (path, 403)
    assert (await ada.get("/api/auth/me")).status_code == 200


async def test_another_site_cannot_sign_a_browser_in(nobody: httpx.AsyncClient, app: App) -> None:
    await app.parts.auth.people.create("mallory", Role.VIEWER, password=PASSWORD)
    link = await link_of(app, "mallory")
    evil = {"Origin": OTHER, "Accept": "text/html"}
    body = {"name": "mallory", "password": PASSWORD}
    assert (await nobody.post("/api/auth/sign-in", json=body, headers=evil)).status_code == 403
    assert (await nobody.post(link, headers=evil)).status_code == 403


async def test_signing_out_ends_the_session_itself_not_just_the_cookie(browser: Door) -> None:
    ada = await browser(Role.ADMIN)
    token = ada.cookies[COOKIE]
    assert (await ada.post("/api/auth/sign-out")).json() == {"done": True}
    ada.cookies.set(COOKIE, token)
    assert (await ada.get("/api/auth/me")).status_code == 401


async def test_a_key_is_made_by_a_person_shown_once_and_revoked(
    browser: Door, nobody: httpx.AsyncClient
) -> None:
    dev = await browser(Role.DEVELOPER)
    made = (
        await dev.post(
            "/api/auth/keys", json={"name": "ci", "role": "admin", "scopes": ["sample:read"]}
        )
    ).json()
    assert made["key"].startswith("jk_")
    listed = (await dev.get("/api/auth/keys")).json()
    assert [entry["name"] for entry in listed] == ["ci"] and made["key"] not in str(listed)
    for header in ({"X-API-Key": made["key"]}, {"Authorization": f"bearer {made['key']}"}):
        looked = await nobody.post("/api/tools/sample_look", json={}, headers=header)
        wrote = await nobody.post("/api/tools/sample_write", json={"name": "x"}, headers=header)
        more = await nobody.post("/api/auth/keys", json={"name": "more"}, headers=header)
        assert [a.status_code for a in (looked, wrote, more)] == [200, 403, 403]
    await dev.delete(f"/api/auth/keys/{made['id']}")
    assert (await nobody.get("/api/auth/me", headers=header)).status_code == 401


async def test_nobody_touches_the_keys_and_sessions_of_others(browser: Door) -> None:
    dev, vic = await browser(Role.DEVELOPER), await browser(Role.VIEWER)
    key = (await dev.post("/api/auth/keys", json={"name": "ci"})).json()
    session = (await dev.get("/api/auth/sessions")).json()[0]
    assert (await vic.delete(f"/api/auth/keys/{key['id']}")).status_code == 404
    assert (await vic.delete(f"/api/auth/sessions/{session['id']}")).status_code == 404
    assert (await vic.post("/api/auth/links", json={"user": "developer-person"})).status_code == 403


async def test_an_administrator_makes_a_sign_in_link_for_someone(
    browser: Door, nobody: httpx.AsyncClient, app: App
) -> None:
    ada = await browser(Role.ADMIN)
    await app.parts.auth.people.create("bob", Role.VIEWER)
    url = (await ada.post("/api/auth/links", json={"user": "bob"})).json()["url"]
    signed_in = await nobody.post(url.removeprefix(app.parts.settings.link))
    assert signed_in.json()["user"]["name"] == "bob"


async def test_a_password_is_changed_only_by_who_knows_the_present_one(
    browser: Door, nobody: httpx.AsyncClient
) -> None:
    ada = await browser(Role.ADMIN)
    first = await ada.post("/api/auth/password", json={"password": PASSWORD})
    assert first.status_code == 200
    guessed = {"password": "another password", "current": "guess guess"}
    assert (await ada.post("/api/auth/password", json=guessed)).status_code == 401
    known = {"password": "another password", "current": PASSWORD}
    assert (await ada.post("/api/auth/password", json=known)).status_code == 200
    assert (await ada.get("/api/auth/me")).status_code == 200
    body = {"name": "admin-person", "password": "another password"}
    assert (await nobody.post("/api/auth/sign-in", json=body)).status_code == 200


async def test_confirming_with_the_password_makes_the_sign_in_fresh_and_renews_the_cookie(
    nobody: httpx.AsyncClient, app: App, database: Database
) -> None:
    auth = app.parts.auth
    await auth.people.create("ada", Role.ADMIN, password=PASSWORD)
    nobody.headers["Origin"] = SITE
    await nobody.post("/api/auth/sign-in", json={"name": "ada", "password": PASSWORD})
    old = nobody.cookies[COOKIE]
    async with database.session() as s:
        await s.execute(text("UPDATE auth_sessions SET proven_at = now() - interval '1 day'"))
    ada = await auth.principal_for_session(old)
    wrong = await nobody.post("/api/auth/confirm", json={"password": "wrong one"})
    assert wrong.status_code == 401 and "set-cookie" not in wrong.headers
    assert not await auth.is_fresh(ada, timedelta(minutes=5))
    answer = await nobody.post("/api/auth/confirm", json={"password": PASSWORD})
    assert answer.json()["user"]["name"] == "ada"
    assert await auth.is_fresh(ada, timedelta(minutes=5))
    new = nobody.cookies[COOKIE]
    assert new != old and (await nobody.get("/api/auth/me")).status_code == 200
    nobody.cookies.set(COOKIE, old, domain="jarvis.test", path="/")
    assert (await nobody.get("/api/auth/me")).status_code == 401


async def test_a_program_cannot_confirm_a_sign_in(program: Door) -> None:
    ci = await program(Role.ADMIN)
    assert (await ci.post("/api/auth/confirm", json={"password": "x"})).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer jk_wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic YTpi"},
        {"X-API-Key": "jk_" + "0" * 64},
        {"Cookie": f"{COOKIE}=wrong"},
        {},
    ],
)
async def test_every_route_but_signing_in_needs_credentials(
    nobody: httpx.AsyncClient, server: FastAPI, headers: dict[str, str]
) -> None:
    paths = (await nobody.get("/api/openapi.json")).json()["paths"]
    free = {"/api/auth/sign-in", "/api/auth/link/{token}", "/api/nodes/join"}
    for path, methods in paths.items():
        for method in methods:
            if path in free:
                continue
            url = path.replace("{", "").replace("}", "")
            answer = await nobody.request(method.upper(), url, headers=headers)
            assert (method, path, answer.status_code) == (method, path, 401)
            assert answer.headers["www-authenticate"] == "Bearer"
