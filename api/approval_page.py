"""The page behind a link to an approval: it shows the whole call, and takes a person's answer."""

import json
from html import escape
from typing import Final
from urllib.parse import quote

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import RedirectResponse, Response

from api.approvals import Decision
from api.doors import Open
from api.identity import Person, identify
from api.pages import form_page
from nebula.auth.principal import Surface
from nebula.errors import InvalidInput, NebulaError, NotAuthenticated
from nebula.markup.text import visible
from nebula.tool.approvals import Approval

router = APIRouter(prefix="/approvals", include_in_schema=False)

# Enter in a field presses its form's first button, which must not be Approve.
_BUTTONS: Final = """<form method="post">
<button name="decision" value="approve">Approve</button>
<button class="plain" name="decision" value="deny">Deny</button></form><form method="post">
<input name="comment" maxlength="2000" required aria-label="What should change"
 placeholder="What should change">
<button class="plain" name="decision" value="request_changes">Request changes</button></form>"""


def page_of(approval_id: str) -> str:
    """Return the path of an approval's page."""
    return f"/api/approvals/{quote(approval_id)}/page"


@router.get("/{approval_id}/page")
async def show(approval_id: str, request: Request, open_: Open) -> Response:
    """Show the call that waits; whoever is not signed in does that first and comes back."""
    try:
        who = await identify(request)
        approval = await open_.app.parts.approvals.get(approval_id, who.principal)
    except NotAuthenticated:
        return RedirectResponse(f"/login?next={quote(page_of(approval_id), safe='')}", 303)
    except NebulaError as error:
        return _problem(error)
    return form_page("Approval", _card(approval))


@router.post("/{approval_id}/page")
async def answer(approval_id: str, who: Person, request: Request, open_: Open) -> Response:
    """Take the answer and show the page again."""
    try:
        decision = await _decision(request)
        await open_.app.parts.approvals.decide(
            approval_id,
            decision=decision.decision,
            by=who.principal,
            surface=Surface.REST,
            comment=decision.comment,
        )
    except NebulaError as error:
        return _problem(error, page_of(approval_id))
    return RedirectResponse(page_of(approval_id), 303)


async def _decision(request: Request) -> Decision:
    async with request.form(max_files=0, max_fields=10) as form:
        try:
            return Decision.model_validate(dict(form))
        except ValidationError as error:
            raise InvalidInput("That is no answer", hint="Use one of the buttons.") from error


def _card(approval: Approval) -> str:
    lines = [
        _line("Asked by", f"{approval.principal_name}, over {approval.surface}"),
        *[_line(name, _shown(value), exact=True) for name, value in approval.arguments.items()],
        _line("Why", approval.reason),
    ]
    if approval.state == "pending":
        lines.append(_line("Waits until", f"{approval.expires_at:%H:%M:%S} UTC"))
        return f"{_head(approval)}<dl>{''.join(lines)}</dl>{_BUTTONS}"
    state = approval.state.replace("_", " ").capitalize()
    by = f" by {approval.decided_by}" if approval.decided_by else ""
    lines += [_line("State", state + by), _line("Comment", approval.comment)]
    return f"{_head(approval)}<dl>{''.join(lines)}</dl>"


def _head(approval: Approval) -> str:
    asked = "This needs your decision" if approval.state == "pending" else "This was asked"
    return f"<h1>{escape(visible(approval.tool))}</h1><p>{asked} ({escape(approval.effect)})</p>"


def _line(name: str, value: str, *, exact: bool = False) -> str:
    if not value:
        return ""
    kind = ' class="exact"' if exact else ""
    return f"<div><dt>{escape(visible(name))}</dt><dd{kind}>{escape(visible(value))}</dd></div>"


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _problem(error: NebulaError, back: str = "") -> Response:
    said = f"{visible(str(error))}. {visible(error.hint)}"
    told = f"<h1>That did not work</h1><p>{escape(said)}</p>"
    link = f'<p><a href="{escape(back)}">Back</a></p>' if back else ""
    return form_page("Approval", told + link, status=error.status)
