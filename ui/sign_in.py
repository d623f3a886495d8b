"""The sign-in page, confirming with the password again, and signing out from the chat's menu."""

from contextlib import suppress
from html import escape
from importlib import resources
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from api.identity import session_cookie, session_token
from nebula.auth.cookies import COOKIE
from nebula.errors import NotFound
from ui.chat import door, shell

router = APIRouter(include_in_schema=False)


@router.get("/login")
async def page(request: Request) -> Response:
    """Show the sign-in page, or go on to the chat when already signed in."""
    token = session_token(request)
    if token and await door.who_is(token):
        return RedirectResponse("/", status_code=303)
    return _page("sign_in.html")


@router.get("/confirm")
async def confirm_page(request: Request) -> Response:
    """Ask a signed-in person for the password again, before what cannot be undone."""
    token = session_token(request)
    principal = await door.who_is(token) if token else None
    if principal is None:
        here = quote(f"{request.url.path}?{request.url.query}", safe="")
        return RedirectResponse(f"/login?next={here}", status_code=303)
    return _page("confirm.html", name=principal.name)


@router.post("/logout")
async def sign_out(request: Request) -> Response:
    """End the sign-in behind the cookie; the chat's menu calls this address."""
    token = session_token(request)
    principal = await door.who_is(token) if token else None
    if principal is not None and principal.login_id is not None:
        with suppress(NotFound):  # another tab was faster
            await door.app().parts.auth.logins.end(principal.login_id, user_id=principal.id)
    answer = JSONResponse({"success": True})
    name = session_cookie(request)
    answer.delete_cookie(name, path="/", secure=name != COOKIE, httponly=True, samesite="lax")
    return answer


def _page(file: str, **values: str) -> HTMLResponse:
    html = (resources.files("ui") / "pages" / file).read_text(encoding="utf-8")
    policy = shell.policy(html).replace(" 'unsafe-eval'", "")
    for name, value in values.items():
        html = html.replace(f"{{{name}}}", escape(value))
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store"}
    return HTMLResponse(html, headers={**headers, "Referrer-Policy": "same-origin"})
