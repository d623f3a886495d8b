"""Signing in and out, one's own sign-ins and API keys, and links for others."""

from contextlib import suppress
from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from api.bodies import json_body, takes
from api.doors import Doors, Open
from api.identity import (
    Person,
    Who,
    client_address,
    require_same_origin,
    session_cookie,
    session_token,
)
from api.pages import link_page
from nebula.auth.cookies import COOKIE
from nebula.auth.keys import ApiKey, NewKey
from nebula.auth.logins import Login, SignIn
from nebula.auth.principal import Principal, Role
from nebula.errors import NotAuthenticated, NotFound, PermissionDenied

router = APIRouter(prefix="/auth", tags=["sign-in"])


class Me(BaseModel):
    """Who you are and what you may do."""

    id: str
    name: str
    role: Role
    permissions: list[str]
    denied: list[str]
    by: Literal["session", "key"]


class Password(BaseModel):
    """A name and a password."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200)
    password: str = Field(min_length=1, max_length=1000)


class Confirmation(BaseModel):
    """Your password, once more."""

    model_config = ConfigDict(extra="forbid")

    password: str = Field(min_length=1, max_length=1000)


class NewPassword(BaseModel):
    """Your new password, and the present one if you have one."""

    model_config = ConfigDict(extra="forbid")

    password: str = Field(min_length=8, max_length=256)
    current: str = Field("", max_length=1000)


class KeyRequest(BaseModel):
    """The API key you want."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=64, description="What it is for")
    role: Role = Field(Role.VIEWER, description="It never grants more than you have yourself")
    scopes: list[str] | None = Field(None, description="feature:right patterns to narrow it to")
    days: float | None = Field(None, gt=0, le=36_500, description="How long it lives")


class LinkRequest(BaseModel):
    """For whom to make a sign-in link."""

    model_config = ConfigDict(extra="forbid")

    user: str = Field(min_length=1, max_length=64, description="The user's name or id")


class Link(BaseModel):
    """A link that signs its user in once."""

    url: str


class Done(BaseModel):
    """It is done."""

    done: bool = True


class SignedIn(BaseModel):
    """You are signed in; the session is in the cookie."""

    user: Me
    expires_at: datetime


@router.post("/sign-in", openapi_extra=takes(Password), response_model=SignedIn)
async def sign_in(
    request: Request, open_: Open, body: Annotated[Password, Depends(json_body(Password))]
) -> Response:
    """Sign in with a name and a password; sets the session cookie."""
    if "origin" in request.headers:
        require_same_origin(request)
    done = await open_.app.parts.auth.sign_in(
        body.name, body.password, device=_device(request), address=client_address(request)
    )
    await _end_former(request, open_)
    return with_cookie(request, done, _signed_in(done))


@router.get("/link/{token}", response_class=HTMLResponse)
async def show_link(token: str) -> Response:
    """Show a page with a button: only pressing it uses the link up, so that previews do not."""
    return link_page(action=f"/api/auth/link/{quote(token)}")


@router.post(
    "/link/{token}", response_model=SignedIn, responses={303: {"description": "Signed in"}}
)
async def use_link(token: str, request: Request, open_: Open) -> Response:
    """Sign in with a one-time link; browsers are sent to the chat."""
    html = "text/html" in request.headers.get("accept", "")
    if html or "origin" in request.headers:
        require_same_origin(request)
    try:
        done = await open_.app.parts.auth.logins.use_link(
            token, device=_device(request), address=client_address(request)
        )
    except NotAuthenticated as error:
        if html:
            return link_page(error=error)
        raise
    await _end_former(request, open_)
    answer = RedirectResponse("/", 303) if html else _signed_in(done)
    return with_cookie(request, done, answer)


@router.post("/sign-out")
async def sign_out(
    request: Request, who: Person, open_: Open, everywhere: Annotated[bool, Query()] = False
) -> JSONResponse:
    """End this sign-in, or all of yours."""
    logins = open_.app.parts.auth.logins
    if everywhere:
        await logins.end_all(who.principal.id)
    else:
        await logins.end(who.principal.login_id or "", user_id=who.principal.id)
    answer = JSONResponse(Done().model_dump())
    name = session_cookie(request)
    answer.delete_cookie(name, path="/", secure=name != COOKIE, httponly=True, samesite="lax")
    return answer


@router.get("/me")
async def me(who: Who) -> Me:
    """Say who you are and what you may do."""
    return _me(who.principal)


@router.post("/password", openapi_extra=takes(NewPassword), response_model=SignedIn)
async def set_password(
    request: Request,
    who: Person,
    open_: Open,
    body: Annotated[NewPassword, Depends(json_body(NewPassword))],
) -> Response:
    """Set your password; your other sign-ins end, and this one gets a fresh cookie."""
    auth = open_.app.parts.auth
    user = await auth.people.find(who.principal.id)
    if user.has_password:
        await auth.confirm(user.name, body.current, address=client_address(request))
    await auth.people.update(user.id, password=body.password)
    done = await auth.logins.open(user.id, device=_device(request), address=client_address(request))
    return with_cookie(request, done, _signed_in(done))


@router.post("/confirm", openapi_extra=takes(Confirmation), response_model=SignedIn)
async def confirm(
    request: Request,
    who: Person,
    open_: Open,
    body: Annotated[Confirmation, Depends(json_body(Confirmation))],
) -> Response:
    """Show once more that it is you, for what needs a fresh sign-in; the cookie is renewed."""
    address = client_address(request)
    done = await open_.app.parts.auth.prove(who.principal, body.password, address=address)
    return with_cookie(request, done, _signed_in(done))


@router.get("/sessions")
async def list_logins(who: Person, open_: Open) -> list[Login]:
    """List the devices you are signed in on."""
    return list(await open_.app.parts.auth.logins.list(who.principal.id))


@router.delete("/sessions/{login_id}")
async def end_login(login_id: str, who: Person, open_: Open) -> Done:
    """Sign one of your devices out."""
    await open_.app.parts.auth.logins.end(login_id, user_id=who.principal.id)
    return Done()


@router.get("/keys")
async def list_keys(who: Who, open_: Open) -> list[ApiKey]:
    """List your API keys."""
    return list(await open_.app.parts.auth.keys.list(who.principal.id))


@router.post("/keys", openapi_extra=takes(KeyRequest))
async def create_key(
    who: Person, open_: Open, body: Annotated[KeyRequest, Depends(json_body(KeyRequest))]
) -> NewKey:
    """Make an API key; it is shown only in this answer."""
    return await open_.app.parts.auth.keys.create(
        who.principal.id, body.name, role=body.role, scopes=body.scopes, days=body.days
    )


@router.delete("/keys/{key_id}")
async def revoke_key(key_id: str, who: Person, open_: Open) -> Done:
    """Revoke one of your API keys; it stops working within a second."""
    await open_.app.parts.auth.keys.revoke(key_id, user_id=who.principal.id)
    return Done()


@router.post("/links", openapi_extra=takes(LinkRequest))
async def create_link(
    who: Person, open_: Open, body: Annotated[LinkRequest, Depends(json_body(LinkRequest))]
) -> Link:
    """Make a one-time sign-in link for a user; administrators only."""
    if not who.principal.can("users:admin"):
        raise PermissionDenied("Making sign-in links needs the permission users:admin")
    return Link(url=await open_.app.parts.auth.sign_in_link(body.user))


async def _end_former(request: Request, open_: Doors) -> None:
    """End the sign-in that this browser had before: its cookie may have been put there."""
    auth = open_.app.parts.auth
    with suppress(NotAuthenticated, NotFound):
        former = await auth.principal_for_session(session_token(request))
        await auth.logins.end(former.login_id or "", user_id=former.id)


def _signed_in(done: SignIn) -> JSONResponse:
    shown = SignedIn(user=_me(done.principal), expires_at=done.expires_at)
    return JSONResponse(shown.model_dump(mode="json"))


def with_cookie(request: Request, done: SignIn, answer: Response) -> Response:
    """Put a fresh sign-in into the cookie of an answer."""
    name = session_cookie(request)
    answer.set_cookie(
        name,
        done.token,
        expires=done.expires_at,
        path="/",
        secure=name != COOKIE,
        httponly=True,
        samesite="lax",
    )
    return answer


def _me(principal: Principal) -> Me:
    return Me(
        id=principal.id,
        name=principal.name,
        role=principal.role,
        permissions=sorted(principal.permissions),
        denied=sorted(principal.denied),
        by="session" if principal.login_id else "key",
    )


def _device(request: Request) -> str:
    return request.headers.get("user-agent", "")
