"""How parts of the page read: as the person signed in, with the right that the tool needs."""

from collections.abc import Awaitable, Callable

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from api.identity import session_token
from nebula.auth.principal import Principal
from nebula.errors import NebulaError, NotAuthenticated, PermissionDenied
from ui.chat import door


async def answer(
    request: Request, permission: str, read: Callable[[Principal], Awaitable[BaseModel]]
) -> JSONResponse:
    """Return what `read` gives the person signed in, or the error in the one shape."""
    try:
        token = session_token(request)
        me = await door.who_is(token) if token else None
        if me is None:
            raise NotAuthenticated("Sign in first")
        if not me.can(permission):
            raise PermissionDenied(f"Looking at this needs the permission {permission}")
        body = (await read(me)).model_dump(mode="json")
    except NebulaError as error:
        return JSONResponse(error.payload(), status_code=error.status)
    return JSONResponse(body, headers={"Cache-Control": "no-store"})
