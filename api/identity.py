"""Who is asking: an API key, or the session cookie of a browser."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends
from starlette.requests import HTTPConnection, Request

from api.doors import Doors, doors_of
from nebula.auth.cookies import cookie_name
from nebula.auth.principal import Caller, Principal, Surface
from nebula.errors import NotAuthenticated, PermissionDenied

Network = IPv4Network | IPv6Network
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
    site = connection.headers.get("sec-fetch-site", "")
    if site and site not in {"same-origin", "none"}:
        origin = "null"  # the browser itself says that another site asks
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
    """Return where a request comes from: past the reverse proxies that the operator named."""
    address = connection.client.host if connection.client else ""
    trusted = trusted_networks(doors_of(connection).app.parts.settings.trusted_proxies)
    forwarded = connection.headers.get("x-forwarded-for", "").split(",")
    # From the right: each proxy adds whom it saw, and what stands before ours may be made up.
    while forwarded and _is_one_of(address, trusted):
        before = forwarded.pop().strip()
        if not before:
            break
        address = before
    return address


@lru_cache(maxsize=8)
def trusted_networks(listed: str) -> tuple[Network, ...]:
    """Read the networks of trusted proxies; ValueError names one that is none."""
    return tuple(
        ip_network(each.strip(), strict=False) for each in listed.split(",") if each.strip()
    )


def _is_one_of(address: str, networks: Iterable[Network]) -> bool:
    try:
        known = ip_address(address)
    except ValueError:
        return False
    return any(known in network for network in networks)


def session_token(connection: HTTPConnection) -> str:
    """Return the sign-in's token that a browser brought, if any."""
    return connection.cookies.get(session_cookie(connection), "")


def session_cookie(connection: HTTPConnection) -> str:
    """Return the name of the cookie that holds a sign-in here."""
    public_url = doors_of(connection).app.parts.settings.public_url
    return cookie_name(connection.url.scheme, public_url)


async def _by_key(connection: HTTPConnection, doors: Doors) -> Principal | None:
    key = key_of(connection)
    return None if key is None else await doors.app.parts.auth.principal_for_key(key)


async def _by_cookie(connection: HTTPConnection, doors: Doors) -> Principal | None:
    token = session_token(connection)
    if not token:
        return None
    principal = await doors.app.parts.auth.principal_for_session(token)
    # A socket opens with GET, but what follows has effects.
    if connection.scope["type"] == "websocket" or connection.scope["method"] not in _SAFE:
        require_same_origin(connection)
    return principal
