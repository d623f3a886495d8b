"""Around every request: an id, an access line, security headers, a body limit, a last resort."""

import re
import time
from contextlib import suppress
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import observe_request
from api.problems import BadRequest, crash, problem
from nebula.auth.cookies import is_secure
from nebula.errors import TooLarge

log = structlog.get_logger("access")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LINK = re.compile(r"(/api/auth/link/)[^/]+")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # With 'no-referrer' browsers send forms with Origin: null, which our check refuses.
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Permitted-Cross-Domain-Policies": "none",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self), payment=(), usb=()",
    # Looking a link's host up before anybody clicks tells that host's name servers of it.
    "X-DNS-Prefetch-Control": "off",
}
_MACHINE = ("/api", "/mcp", "/healthz", "/readyz", "/metrics")
_MACHINE_CSP = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


class RequestFrame:
    """Gives each request an id, logs it, and adds headers to its answer."""

    def __init__(self, app: ASGIApp, public_url: str = "") -> None:
        """Wrap an application that people reach by a public address."""
        self._app = app
        self._public_url = public_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        secure = is_secure(scope.get("scheme", ""), self._public_url)
        await _Request(self._app, scope, receive, send, secure=secure).serve()


class _Request:
    def __init__(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, *, secure: bool
    ) -> None:
        self._app, self._scope, self._receive, self._send = app, scope, receive, send
        self._secure = secure
        self._id = _id_of(scope)
        self._status = 0
        scope.setdefault("state", {})["request_id"] = self._id

    async def serve(self) -> None:
        started = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=self._id):
            try:
                if _has_nul(self._scope):
                    error = BadRequest("The address holds a NUL character")
                    await problem(error)(self._scope, self._receive, self._answer)
                else:
                    await self._app(self._scope, self._receive, self._answer)
            finally:
                self._log(time.perf_counter() - started)

    async def _answer(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = int(message["status"])
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._id
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            if self._scope["path"].startswith(_MACHINE):
                headers.setdefault("Content-Security-Policy", _MACHINE_CSP)
                headers.setdefault("Cache-Control", "no-store")
            if self._secure:
                headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        await self._send(message)

    def _log(self, seconds: float) -> None:
        path = _shown(self._scope)
        observe_request(self._scope["method"], _route(self._scope), self._status, seconds)
        if path in _QUIET:
            return
        principal = self._scope["state"].get("principal")
        # What worked is for whoever asks for it: one look at the chat is dozens of requests.
        tell = log.debug if self._status < 400 else log.info
        tell(
            "request",
            method=self._scope["method"],
            path=path,
            status=self._status,
            ms=round(seconds * 1000, 1),
            who=principal.name if principal else None,
        )


class LastResort:
    """Turns what no handler expected into a reference, logged once; the outermost handler."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = False

        async def noting(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except _TooMuch:
            raise
        except Exception as error:  # noqa: BLE001 - the outermost handler of this door
            told = crash(error, path=_shown(scope))
            if scope["type"] == "http" and not started:
                await problem(told)(scope, receive, send)


class BodyLimit:
    """Refuses bodies above a number of bytes, also those that do not say their length."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        """Wrap an application."""
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not scope["path"].startswith(_MACHINE):
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdigit() and int(declared) > self._most:
            await self._refuse(scope, receive, send)
            return
        await _Counted(self._app, self._most).serve(scope, receive, send, self._refuse)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = TooLarge(f"The body is larger than {self._most} bytes")
        await problem(error, {"Connection": "close"})(scope, receive, send)


class _TooMuch(Exception):
    """Unwinds the application; never leaves this module."""


class _Counted:
    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._left = most
        self._started = False

    async def serve(self, scope: Scope, receive: Receive, send: Send, refuse: ASGIApp) -> None:
        async def counting() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                self._left -= len(message.get("body", b""))
                if self._left < 0:
                    raise _TooMuch
            return message

        async def passing(message: Message) -> None:
            # Once too much came, whatever the application says about it is not sent.
            if self._left >= 0 or self._started:
                self._started = True
                await send(message)

        with suppress(_TooMuch):
            await self._app(scope, counting, passing)
        if self._left < 0 and not self._started:
            await refuse(scope, receive, send)


def _id_of(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid4().hex


def _has_nul(scope: Scope) -> bool:
    """Say whether an address holds what PostgreSQL takes in no text."""
    return "\x00" in scope["path"] or b"%00" in scope.get("query_string", b"")


def _shown(scope: Scope) -> str:
    """Return the path without the secret of a sign-in link."""
    return _LINK.sub(r"\1…", str(scope["path"]))


def _route(scope: Scope) -> str:
    """Return the matched route's template: a bounded number of names for metrics."""
    path = getattr(scope.get("route"), "path", None)
    return f"{scope.get('root_path', '')}{path}" if isinstance(path, str) else "other"
