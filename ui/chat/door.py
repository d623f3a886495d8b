"""What the chat's callbacks reach: the running Jarvis, and the person they act for.

Chainlit calls module-level functions and passes them no request, so the server that was
mounted is kept here. One process serves one server.
"""

from typing import TYPE_CHECKING, cast

from nebula.auth.principal import Caller, Principal, Surface
from nebula.errors import NotAuthenticated, UpstreamUnavailable
from ui.chat.gate import principal_here

if TYPE_CHECKING:
    from fastapi import FastAPI

    from api.doors import Doors
    from graphs.jarvis.service import Jarvis
    from nebula.app import App

_servers: list["FastAPI"] = []


def open_to(server: "FastAPI") -> None:
    """Serve this server's Jarvis from now on."""
    _servers[:] = [server]


def app() -> "App":
    """Return the running program."""
    return _doors().app


def jarvis() -> "Jarvis":
    """Return the running Jarvis."""
    return _doors().jarvis


def _doors() -> "Doors":
    found = getattr(_servers[0].state, "doors", None) if _servers else None
    if found is None:
        raise UpstreamUnavailable("Jarvis is still starting", hint="Try again in a moment.")
    return cast("Doors", found)


async def who_is(token: str) -> Principal | None:
    """Return who a session token stands for at this moment, or None."""
    try:
        return await app().parts.auth.principal_for_session(token)
    except NotAuthenticated:
        return None


async def me() -> Principal:
    """Return the person the present request or socket belongs to, with their present rights.

    Raises:
        NotAuthenticated: when they signed out or were disabled meanwhile.
    """
    try:
        principal = principal_here.get()
    except LookupError:
        raise NotAuthenticated("Sign in first") from None
    return await app().parts.auth.current(principal)


async def caller(session_id: str | None) -> Caller:
    """Return the identity under which a message or click in a session runs."""
    return Caller(principal=await me(), surface=Surface.CHAT, session_id=session_id)


def mint(principal: Principal) -> str:
    """Make Chainlit's token for one request of this person."""
    from chainlit.auth import create_jwt
    from chainlit.user import User

    return str(create_jwt(User(identifier=principal.id, display_name=principal.name)))
