"""One error shape everywhere, limits, and the frame around each request."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from api.server import create_server
from nebula.auth.principal import Role
from nebula.settings import Settings
from tests.api.conftest import SITE, Door, opened


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/nothing", 404, "not_found"),
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/api/tools/", 404, "not_found"),
        ("PUT", "/api/tools", 405, "method_not_allowed"),
        ("DELETE", "/api/jarvis/chat", 405, "method_not_allowed"),
        ("GET", "/api/tools/a%00b", 400, "bad_request"),
        ("GET", "/api/sessions?before=%00", 400, "bad_request"),
        ("GET", "/api/sessions?limit=x", 422, "invalid_input"),
        ("GET", "/api/sessions?state=odd", 422, "invalid_input"),
    ],
)
async def test_every_error_has_the_same_shape(
    program: Door, method: str, path: str, status: int, code: str
) -> None:
    ada = await program(Role.ADMIN)
    answer = await ada.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json().keys() >= {"code", "detail", "retryable"}


async def test_a_bug_in_a_door_shows_only_a_reference(server: FastAPI, program: Door) -> None:
    async def broken() -> None:
        raise ZeroDivisionError("secret detail")

    server.state.api.add_api_route("/broken", broken)
    ada = await program(Role.ADMIN)
    answer = await ada.get("/api/broken")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret" not in answer.text


@pytest.fixture
async def small(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Ask a server that takes bodies of a kilobyte."""
    made = create_server(settings.model_copy(update={"max_body_bytes": 1024}))
    async with opened(made) as server:
        auth = server.state.doors.app.parts.auth
        user = await auth.people.create("ada", Role.ADMIN)
        key = (await auth.keys.create(user.id, "test", role=Role.ADMIN)).key
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(server), base_url=SITE, headers={"X-API-Key": key}
        ) as http:
            yield http


@pytest.mark.parametrize("path", ["/api/tools/users_list", "/api/auth/sign-in", "/mcp"])
async def test_a_body_above_the_limit_is_refused_also_without_a_length(
    small: httpx.AsyncClient, path: str
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 100

    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    for body in (b" " * 2000, endless()):
        answer = await small.post(path, content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_every_answer_has_an_id_and_security_headers(nobody: httpx.AsyncClient) -> None:
    mine = await nobody.get("/healthz", headers={"X-Request-ID": "mine-1"})
    assert mine.headers["x-request-id"] == "mine-1"
    odd = await nobody.get("/api/nothing", headers={"X-Request-ID": "a b\x7f<script>"})
    assert odd.headers["x-request-id"].isalnum()
    assert odd.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in odd.headers["content-security-policy"]
    assert odd.headers["cache-control"] == "no-store"


async def test_the_documentation_page_asks_no_other_host(nobody: httpx.AsyncClient) -> None:
    page = await nobody.get("/api/docs")
    assert page.status_code == 200 and "://" not in page.text
    assert "connect-src 'self'" in page.headers["content-security-policy"]
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert (await nobody.get(f"/api/docs/assets/{asset}")).status_code == 200
    assert (await nobody.get("/api/docs/assets/../../../etc/passwd")).status_code == 404
    assert (await nobody.get("/api")).headers["location"] == "/api/docs"


async def test_figures_are_for_this_machine_or_who_may_see_them(
    server: FastAPI, nobody: httpx.AsyncClient, program: Door
) -> None:
    assert (await nobody.get("/metrics")).status_code == 200
    far = httpx.ASGITransport(server, client=("10.0.0.9", 1))
    async with httpx.AsyncClient(transport=far, base_url=SITE) as http:
        assert (await http.get("/metrics")).status_code == 401
        vic, carl = await program(Role.VIEWER), await program(Role.CLIENT)
        for door, status in ((vic, 200), (carl, 403)):
            key = {"Authorization": door.headers["Authorization"]}
            assert (await http.get("/metrics", headers=key)).status_code == status
    proxied = await nobody.get("/metrics", headers={"X-Forwarded-For": "10.0.0.9"})
    assert proxied.status_code == 401
