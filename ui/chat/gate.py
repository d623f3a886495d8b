"""The gate before Chainlit: our sign-in cookie is the only key, on HTTP and on the socket.

Chainlit keeps its own 15-day token in a cookie. The browser never gets that one: the gate
reads our cookie, asks who it belongs to at this moment, and hands Chainlit a token made for
this one request. So a sign-out or a disabled user counts everywhere at once.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextvars import ContextVar
from html import escape
from http.cookies import CookieError, SimpleCookie
from importlib import resources
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nebula.auth.cookies import COOKIE, cookie_name
from nebula.auth.principal import Principal
from nebula.errors import NebulaError

_INNER_COOKIE = "access_token"
_PUBLIC = ("/assets/", "/public/", "/avatars/")
_PUBLIC_PAGES = {"/favicon", "/logo", "/auth/config", "/project/translations"}
# Doors of Chainlit's that we do not use: other ways to sign in, and other front ends.
_CLOSED = (
    *("/auth/jwt", "/auth/header", "/auth/oauth", "/login"),
    *("/copilot", "/mcp", "/project/share", "/slack", "/teams", "/health", "/api", "/metrics"),
)
_DROPPED_HEADERS = {b"cookie", b"authorization", b"x-remote-user"}

WhoIs = Callable[[str], Awaitable[Principal | None]]
principal_here: ContextVar[Principal] = ContextVar("principal_here")
"""Who the request or socket being served belongs to; set for everything behind the gate."""


class Gate:
    """Lets requests through to Chainlit as the person our cookie stands for, or turns them away."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        who_is: WhoIs,
        mint: Callable[[Principal], str],
        policy: str,
        public_url: str = "",
    ) -> None:
        """Take how to look a cookie up, how to make Chainlit's token, and the page's policy."""
        self._public_url = public_url
        self._app = app
        self._who_is = who_is
        self._mint = mint
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        principal: Principal | None = None
        answer = self._refuse_early(scope, headers)
        if answer is None:
            try:
                principal = await self._principal(scope, headers)
            except NebulaError as error:
                answer = _away(scope, headers, error)
            else:
                if principal is None and not _is_public(scope):
                    answer = _turn_away(scope, headers)
        send = self._with_headers(scope, send)
        if answer is not None:
            await _respond(answer, scope, receive, send)
            return
        if principal is not None:
            principal_here.set(principal)
        inner = {**scope, "headers": list(self._inner_headers(scope["headers"], principal))}
        await self._app(inner, receive, send)

    def _refuse_early(self, scope: Scope, headers: Headers) -> Response | None:
        path: str = scope["path"]
        if path.startswith(_CLOSED):
            return _problem(404, "not_found", "There is no such page")
        changes = scope["type"] == "websocket" or scope["method"] not in {"GET", "HEAD"}
        if changes and not _same_origin(headers):
            return _problem(403, "permission_denied", "This request came from another site")
        if path == "/set-session-cookie":  # for sticky load balancers; we need no second cookie
            return JSONResponse({"message": "Not needed"})
        return None

    async def _principal(self, scope: Scope, headers: Headers) -> Principal | None:
        name = cookie_name(scope.get("scheme", ""), self._public_url)
        token = cookie_of(headers.get("cookie", ""), name)
        return await self._who_is(token) if token else None

    def _inner_headers(
        self, headers: Iterable[tuple[bytes, bytes]], principal: Principal | None
    ) -> Iterable[tuple[bytes, bytes]]:
        yield from (item for item in headers if item[0].lower() not in _DROPPED_HEADERS)
        if principal is not None:
            yield b"cookie", f"{_INNER_COOKIE}={self._mint(principal)}".encode()

    def _with_headers(self, scope: Scope, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=_header_scope(message))
                del headers["set-cookie"]
                headers["Content-Security-Policy"] = self._policy
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "same-origin"
                headers["X-DNS-Prefetch-Control"] = "off"
                if scope["path"].startswith("/assets/"):
                    headers["Cache-Control"] = "public, max-age=31536000, immutable"
                elif "cache-control" not in headers:
                    headers["Cache-Control"] = "no-cache"
            await send(message)

        return sending


def cookie_of(header: str, name: str = COOKIE) -> str | None:
    """Return our session token from a Cookie header."""
    try:
        morsel = SimpleCookie(header).get(name)
    except CookieError:
        return None
    return morsel.value if morsel else None


def _header_scope(message: Message) -> MutableMapping[str, Any]:
    message.setdefault("headers", [])
    return message


def _is_public(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.startswith(_PUBLIC) or path in _PUBLIC_PAGES


def _same_origin(headers: Headers) -> bool:
    """Say whether the page that asks is ours; programs without an Origin are told by the cookie."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "same-origin") in {"same-origin", "none"}
    return urlsplit(origin).netloc == headers.get("host", "")


def _navigates(scope: Scope, headers: Headers) -> bool:
    """Say whether a person opens a page, rather than a page asking for data."""
    if scope["type"] != "http" or scope["method"] != "GET":
        return False
    return "text/html" in headers.get("accept", "")


def _away(scope: Scope, headers: Headers, error: NebulaError) -> Response:
    if not _navigates(scope, headers):
        return JSONResponse(error.payload(), status_code=error.status)
    page = (resources.files("ui") / "pages" / "away.html").read_text(encoding="utf-8")
    page = page.replace("{detail}", escape(str(error))).replace("{hint}", escape(error.hint))
    return HTMLResponse(page, status_code=error.status)


def _turn_away(scope: Scope, headers: Headers) -> Response:
    if _navigates(scope, headers):
        query = scope.get("query_string", b"").decode("latin-1")
        here = scope["path"] + (f"?{query}" if query else "")
        suffix = "" if here == "/" else f"?next={quote(here, safe='')}"
        return RedirectResponse(f"/login{suffix}", status_code=303)
    return _problem(401, "not_authenticated", "Sign in first")


def _problem(status: int, code: str, detail: str) -> Response:
    return JSONResponse({"code": code, "detail": detail, "retryable": False}, status_code=status)


async def _respond(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 4401})
        return
    await answer(scope, receive, send)
