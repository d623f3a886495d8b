"""Pages of approvals: the one behind a link, and the inbox of all that wait."""

from html import escape
from urllib.parse import quote

from fastapi import APIRouter, Request
from pydantic import Field, ValidationError
from starlette.responses import RedirectResponse, Response

from api.approval_card import CHANGED, LIVE, SCRIPT, card_html, notice_html
from api.approvals import Decision, card_of
from api.doors import Open
from api.identity import Person, client_address, identify
from api.notices import notices_of
from api.pages import form_page
from api.signin import with_cookie
from nebula.auth.logins import SignIn
from nebula.auth.principal import Caller, Surface
from nebula.errors import InvalidInput, NebulaError, NotAuthenticated
from nebula.markup.text import visible

router = APIRouter(prefix="/approvals", include_in_schema=False)
_INBOX = "/api/approvals/inbox"


class _Answer(Decision):
    password: str = Field("", max_length=1000)


def page_of(approval_id: str) -> str:
    """Return the path of an approval's page."""
    return f"/api/approvals/{quote(approval_id)}/page"


@router.get("/page.js")
async def script() -> Response:
    """Return what keeps the pages true while they are open."""
    return Response(LIVE, media_type="text/javascript", headers={"Cache-Control": "no-cache"})


_NOTHING = (
    "<p>What needs a decision shows up here by itself, whichever door it came through.</p>"
    '<p><a href="/">Go to the chat</a></p>'
)


@router.get("/inbox")
async def inbox(request: Request, open_: Open) -> Response:
    """Show everything that waits for the person signed in, whichever door it came through."""
    try:
        who = await identify(request)
        approvals = open_.app.parts.approvals
        waiting = await approvals.list(who.principal)
        cards = [await card_of(approvals, one, who.principal) for one in waiting]
        still = await notices_of(open_.app.parts.db, who.principal)
    except NotAuthenticated:
        return _sign_in(_INBOX)
    except NebulaError as error:
        return _problem(error)
    count = len(cards) + len(still)
    head = f"<h1>{count or 'Nothing'} waiting for you</h1>" if len(cards) != 1 or still else ""
    parts = [card_html(card, page_of(card.id)) for card in cards]
    shown = "<hr>".join([*parts, *map(notice_html, still)]) or _NOTHING
    return form_page("Approvals", f"{CHANGED}{head}{shown}", script=SCRIPT, inbox=True)


@router.get("/{approval_id}/page")
async def show(approval_id: str, request: Request, open_: Open) -> Response:
    """Show the call that waits; whoever is not signed in does that first and comes back."""
    try:
        who = await identify(request)
        approvals = open_.app.parts.approvals
        found = await approvals.get(approval_id, who.principal)
        card = await card_of(approvals, found, who.principal)
    except NotAuthenticated:
        return _sign_in(page_of(approval_id))
    except NebulaError as error:
        return _problem(error)
    shown = CHANGED + card_html(card, page_of(approval_id))
    return form_page("Approval", shown, script=SCRIPT if card.state == "pending" else "")


@router.post("/{approval_id}/page")
async def answer(approval_id: str, who: Person, request: Request, open_: Open) -> Response:
    """Take the answer, with the password where that is needed, and show the page again."""
    path = page_of(approval_id)
    try:
        given = await _given(request)
        done = await _proven(request, open_, who, given)
        await open_.app.parts.approvals.decide(
            approval_id,
            decision=given.decision,
            by=who.principal,
            surface=Surface.REST,
            comment=given.comment,
        )
    except NebulaError as error:
        return _problem(error, path)
    again = RedirectResponse(path, 303)
    return again if done is None else with_cookie(request, done, again)


async def _proven(request: Request, open_: Open, who: Caller, given: _Answer) -> SignIn | None:
    if not given.password or given.decision != "approve":
        return None
    address = client_address(request)
    return await open_.app.parts.auth.prove(who.principal, given.password, address=address)


async def _given(request: Request) -> _Answer:
    async with request.form(max_files=0, max_fields=10) as form:
        try:
            return _Answer.model_validate(dict(form))
        except ValidationError as error:
            raise InvalidInput("That is no answer", hint="Use one of the buttons.") from error


def _sign_in(path: str) -> Response:
    return RedirectResponse(f"/login?next={quote(path, safe='')}", 303)


def _problem(error: NebulaError, back: str = "") -> Response:
    said = escape(visible(f"{error}. {error.hint}"))
    link = f'<p><a href="{escape(back)}">Back</a></p>' if back else ""
    told = f"<h1>That did not work</h1><p>{said}</p>{link}"
    return form_page("Approval", told, status=error.status)
