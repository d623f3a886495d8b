"""The gate before Chainlit, with a small application behind it that tells what reached it."""

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from nebula.auth.principal import Principal, Role
from nebula.errors import UpstreamUnavailable
from ui.chat.gate import Gate, cookie_of, principal_here

ADA = Principal("usr_ada", "ada", Role.VIEWER, frozenset({"*:read"}))
HTML = {"accept": "text/html"}


async def behind(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope)
    who = principal_here.get(None)
    seen = {"headers": dict(request.headers), "who": who.name if who else None}
    await JSONResponse(seen, headers={"set-cookie": "access_token=inner"})(scope, receive, send)


async def who_is(token: str) -> Principal | None:
    if token == "broken":
        raise UpstreamUnavailable("The database does not answer")
    return ADA if token == "good" else None


@pytest.fixture
def site() -> httpx.AsyncClient:
    gate = Gate(behind, who_is=who_is, mint=lambda p: f"for-{p.id}", policy="default-src 'self'")
    return httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url="http://jarvis.test")


def cookies(*pairs: str) -> dict[str, str]:
    return {"cookie": "; ".join(pairs)}


async def test_a_page_without_a_sign_in_leads_to_the_sign_in_page_and_back(
    site: httpx.AsyncClient,
) -> None:
    answer = await site.get("/thread/abc?x=1", headers=HTML)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=%2Fthread%2Fabc%3Fx%3D1"


@pytest.mark.parametrize("path", ["/project/threads", "/user", "/project/settings", "/thread/x"])
async def test_data_without_a_sign_in_is_refused(site: httpx.AsyncClient, path: str) -> None:
    answer = await site.get(path)
    assert answer.status_code == 401
    assert answer.json()["code"] == "not_authenticated"


@pytest.mark.parametrize("path", ["/assets/a.js", "/public/nebula.css", "/favicon", "/logo"])
async def test_the_page_s_own_files_need_no_sign_in(site: httpx.AsyncClient, path: str) -> None:
    assert (await site.get(path)).status_code == 200


async def test_our_cookie_is_exchanged_for_the_inner_token_and_never_passed_on(
    site: httpx.AsyncClient,
) -> None:
    answer = await site.get("/user", headers=cookies("jarvis_session=good", "other=1"))
    seen = answer.json()
    assert seen["headers"]["cookie"] == "access_token=for-usr_ada"
    assert seen["who"] == "ada"


async def test_an_inner_token_brought_by_the_browser_is_dropped(site: httpx.AsyncClient) -> None:
    forged = cookies("access_token=stolen", "access_token_0=stolen")
    answer = await site.get("/favicon", headers={**forged, "authorization": "Bearer stolen"})
    assert not {"cookie", "authorization"} & set(answer.json()["headers"])


async def test_a_claimed_remote_user_is_dropped(site: httpx.AsyncClient) -> None:
    headers = {**cookies("jarvis_session=good"), "x-remote-user": "root"}
    assert "x-remote-user" not in (await site.get("/user", headers=headers)).json()["headers"]


async def test_the_inner_token_is_never_set_in_the_browser(site: httpx.AsyncClient) -> None:
    answer = await site.get("/user", headers=cookies("jarvis_session=good"))
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "path",
    ["/auth/jwt", "/auth/header", "/login", "/mcp", "/copilot/x.js", "/project/share/1", "/api/x"],
)
async def test_doors_we_do_not_use_are_closed(site: httpx.AsyncClient, path: str) -> None:
    answer = await site.post(path, headers=cookies("jarvis_session=good"))
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://jarvis.test"}, 200),
        ({"origin": "http://evil.test"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({}, 200),
    ],
)
async def test_changes_are_taken_from_our_own_pages_only(
    site: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    headers = {**headers, **cookies("jarvis_session=good")}
    assert (await site.put("/project/thread", headers=headers)).status_code == status


async def test_every_answer_carries_the_policy_and_assets_are_kept(
    site: httpx.AsyncClient,
) -> None:
    page = await site.get("/login", headers=HTML)
    asset = await site.get("/assets/index-1.js")
    assert page.headers["content-security-policy"] == "default-src 'self'"
    assert asset.headers["x-content-type-options"] == "nosniff"
    assert "immutable" in asset.headers["cache-control"]


async def test_a_database_that_is_away_is_said_and_not_taken_for_a_sign_out(
    site: httpx.AsyncClient,
) -> None:
    answer = await site.get("/user", headers=cookies("jarvis_session=broken"))
    assert answer.status_code == 503
    assert answer.json()["code"] == "upstream_unavailable"
    page = await site.get("/", headers={**HTML, **cookies("jarvis_session=broken")})
    assert page.status_code == 503
    assert "The database does not answer" in page.text


@pytest.mark.parametrize(("token", "accepted"), [("good", True), ("bad", False), (None, False)])
async def test_a_socket_opens_only_for_someone_signed_in(token: str | None, accepted: bool) -> None:
    assert await _handshake(token, origin="http://jarvis.test") is accepted


async def test_a_socket_from_another_site_is_closed() -> None:
    assert await _handshake("good", origin="http://evil.test") is False


async def _handshake(token: str | None, *, origin: str) -> bool:
    async def inner(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})

    sent: list[str] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(str(message["type"]))

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    headers = [(b"host", b"jarvis.test"), (b"origin", origin.encode())]
    if token:
        headers.append((b"cookie", f"jarvis_session={token}".encode()))
    gate = Gate(inner, who_is=who_is, mint=lambda p: p.id, policy="")
    scope = {"type": "websocket", "path": "/ws/socket.io/", "headers": headers}
    await gate(scope, receive, send)  # type: ignore[arg-type]
    return sent == ["websocket.accept"]


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("jarvis_session=abc", "abc"),
        ("a=1; jarvis_session=abc; b=2", "abc"),
        ("", None),
        ("jarvis_session", None),
        ("not a cookie;;=;jarvis_session", None),
    ],
)
def test_our_token_is_found_among_the_cookies(header: str, token: str | None) -> None:
    assert cookie_of(header) == token
