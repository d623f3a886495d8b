"""Who is asking: an API key, or the session cookie of a browser."""

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends
from starlette.requests import HTTPConnection, Request

from api.doors import Doors, doors_of
from nebula.auth.principal import Caller, Principal, Surface
from nebula.errors import NotAuthenticated, PermissionDenied

COOKIE = "jarvis_session"
LOOPBACK = frozenset({"127.0.0.1", "::1"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


async def identify(connection: HTTPConnection, surface: Surface = Surface.REST) -> Caller:
    """Return who asks.

    Raises:
        NotAuthenticated: when neither a valid key nor a valid session comes along.
        PermissionDenied: when a browser was made to ask by another site.
    """
    doors = doors_of(connection)
    principal = await _by_key(connection, doors) or await _by_cookie(connection, doors)
    if principal is None:
        raise NotAuthenticated(
            "Sign in first",
            hint="Send an API key as 'Authorization: Bearer jk_…', or sign in at /api/auth/sign-in.",
        )
    connection.state.principal = principal
    return Caller(principal=principal, surface=surface)


async def _caller(request: Request) -> Caller:
    return await identify(request)


async def _person(request: Request) -> Caller:
    """Return who asks, if it is a person in a browser: a program's key will not do."""
    caller = await identify(request)
    if caller.principal.login_id is None:
        raise PermissionDenied(
            "This needs a person who signed in; an API key is not enough",
            hint="Sign in at /api/auth/sign-in, or use the web chat or the terminal.",
        )
    return caller


Who = Annotated[Caller, Depends(_caller)]
Person = Annotated[Caller, Depends(_person)]


def key_of(connection: HTTPConnection) -> str | None:
    """Return the API key a request carries.

    Raises:
        NotAuthenticated: when it uses another scheme than Bearer.
    """
    if given := connection.headers.get("x-api-key"):
        return given.strip()
    header = connection.headers.get("authorization")
    if header is None:
        return None
    scheme, _, key = header.partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise NotAuthenticated("Send the key as 'Authorization: Bearer jk_…'")
    return key.strip()


def require_same_origin(connection: HTTPConnection) -> None:
    """Refuse what another site made a signed-in browser send.

    Raises:
        PermissionDenied: when the Origin is missing or another site's.
    """
    origin = connection.headers.get("origin", "")
    if not origin:
        # Old browsers send only a Referer with same-origin forms.
        referer = urlsplit(connection.headers.get("referer", ""))
        origin = f"{referer.scheme}://{referer.netloc}"
    if not same_origin(origin, connection):
        raise PermissionDenied(
            "Another site made this request",
            hint="Programs use an API key; browsers must send their Origin.",
        )


def same_origin(origin: str, connection: HTTPConnection) -> bool:
    """Say whether an Origin header names this server, as addressed or as set in public_url."""
    try:
        parts = urlsplit(origin)
        host = parts.netloc.lower()
    except ValueError:
        return False
    public = urlsplit(doors_of(connection).app.parts.settings.public_url).netloc.lower()
    known = {connection.headers.get("host", "").lower(), public} - {""}
    return parts.scheme in {"http", "https"} and host in known


def client_address(connection: HTTPConnection) -> str:
    """Return where a request comes from: past a reverse proxy on this machine, if there is one."""
    direct = connection.client.host if connection.client else ""
    forwarded = connection.headers.get("x-forwarded-for", "")
    if direct in LOOPBACK and forwarded:
        # The last entry is the one our own proxy wrote; those before it may be made up.
        return forwarded.rpartition(",")[2].strip()
    return direct


async def _by_key(connection: HTTPConnection, doors: Doors) -> Principal | None:
    key = key_of(connection)
    return None if key is None else await doors.app.parts.auth.principal_for_key(key)


async def _by_cookie(connection: HTTPConnection, doors: Doors) -> Principal | None:
    token = connection.cookies.get(COOKIE)
    if not token:
        return None
    principal = await doors.app.parts.auth.principal_for_session(token)
    # A socket opens with GET, but what follows has effects.
    if connection.scope["type"] == "websocket" or connection.scope["method"] not in _SAFE:
        require_same_origin(connection)
    return principal
