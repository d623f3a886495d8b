"""An approval as HTML: what would happen, where each value came from, and the buttons."""

import json
from collections.abc import Iterable
from datetime import datetime
from html import escape
from typing import Final

from api.approvals import Card
from nebula.markup.text import visible
from nebula.notice import Notice
from nebula.policy.answering import Bar
from nebula.policy.labels import Label
from nebula.tool.result import Block, Markdown, Table

SCRIPT: Final = "/api/approvals/page.js"
LIVE: Final = """// Keeps an approval's page true: answered elsewhere, or out of time.
const cards = [...document.querySelectorAll("[data-approval]")];
const typing = () => [...document.querySelectorAll("input")].some((field) => field.value);
function changed(id) {
  if (id && !document.body.dataset.inbox && !cards.some((card) => card.dataset.approval === id)) return;
  if (!typing()) return location.reload();
  document.getElementById("changed").hidden = false;
}
const events = new EventSource("/api/approvals/events");
for (const kind of ["approval.requested", "approval.decided"])
  events.addEventListener(kind, (event) => changed(JSON.parse(event.data).data.id));
setInterval(() => {
  for (const card of cards) {
    const clock = card.querySelector("[data-until]");
    if (!clock) continue;
    const left = Math.max(0, Math.round((new Date(clock.dataset.until) - Date.now()) / 1000));
    clock.textContent = left ? `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}` : "Expired";
    if (!left) for (const button of card.querySelectorAll("button")) button.disabled = true;
  }
}, 1000);
"""
CHANGED: Final = '<p id="changed" role="status" hidden>Something changed. Reload to see it.</p>'

# Enter in a field presses its form's first button, which must not be Approve.
_CHANGES: Final = """<form method="post" action="{to}">
<input name="comment" maxlength="2000" required aria-label="What should change"
 placeholder="What should change">
<button class="plain" name="decision" value="request_changes">Request changes</button></form>"""
_DENY: Final = '<button class="plain" name="decision" value="deny" formnovalidate>Deny</button>'
_APPROVE: Final = '<button name="decision" value="approve">Approve</button>'
_CONFIRM: Final = """<form method="post" action="{to}"><label>This is critical: give your password
to approve it.<input name="password" type="password" required maxlength="1000"
 autocomplete="current-password" aria-label="Your password"></label>"""

_LEVELS: Final = {
    "normal": "changes something",
    "destructive": "cannot be undone",
    "critical": "critical",
}
_STATES: Final = {"withdrawn": "No longer needed"}
_ORIGINS: Final = {
    "words": "in the request",
    "registry": "known here",
    "default": "default",
    "endorsed": "vouched for",
    "unknown": "origin unknown",
}


def card_html(card: Card, to: str) -> str:
    """Return a card; its answers go to the path `to`."""
    pending = card.state == "pending"
    parts = [
        f"<h1>{_text(card.evidence.title or card.tool)}</h1>",
        f"<p><code>{_text(card.tool)}</code> · {_LEVELS[card.level.value]}</p>",
        _warning(card) if pending else "",
        f"<dl>{''.join(_lines(card))}</dl>",
        *_preview(card.evidence.preview),
        f"<p>No preview: {_text(card.evidence.no_preview)}</p>" if card.evidence.no_preview else "",
        _answers(card, escape(to)) if pending else "",
    ]
    return f'<section data-approval="{escape(card.id)}">{"".join(parts)}</section>'


def notice_html(notice: Notice) -> str:
    """Return what stands still and what its owner can do about it."""
    head = f"<h1>{_text(notice.name)} stands still</h1>"
    return f"<section>{head}<p>{_text(notice.said)}</p><p>{_text(notice.step)}</p></section>"


def _answers(card: Card, to: str) -> str:
    changes = _CHANGES.format(to=to)
    if card.barred is Bar.FRESH_SIGN_IN:
        return f"{_CONFIRM.format(to=to)}{_APPROVE}{_DENY}</form>{changes}"
    if card.barred is not None:
        said = f'<p role="status">{_text(card.barred_because)}</p>'
        return f'{said}<form method="post" action="{to}">{_DENY}</form>{changes}'
    return f'<form method="post" action="{to}">{_APPROVE}{_DENY}</form>{changes}'


def _warning(card: Card) -> str:
    if not (card.by_model and Label.OUTSIDE in card.labels):
        return ""
    said = "Text from outside was read before this was asked. Check every value."
    return f'<p class="warning">{said}</p>'


def _lines(card: Card) -> Iterable[str]:
    who = f"{card.agent or 'a model'} for {card.principal_name}"
    asked = who if card.by_model else card.principal_name
    yield _line("Asked by", f"{asked}, over {card.surface}")
    for name, value in card.arguments.items():
        origin = _ORIGINS.get(card.evidence.origins.get(name, ""), "")
        yield _line(name, _shown(value), exact=True, chip=origin)
    yield _line("Why", card.reason)
    for name, version in card.resources.items():
        yield _line(f"Holds for {name}", version, exact=True)
    if card.state == "pending":
        yield f"<div><dt>Time left</dt><dd>{_clock(card.expires_at)}</dd></div>"
        return
    by = f" by {card.decided_by}" if card.decided_by else ""
    where = f", {card.decided_where}" if card.decided_where else ""
    state = _STATES.get(card.state) or card.state.replace("_", " ").capitalize()
    yield _line("State", state + by + where)
    yield _line("Comment", card.comment)


def _clock(until: datetime) -> str:
    return f'<span data-until="{until.isoformat()}">until {until:%H:%M:%S} UTC</span>'


def _line(name: str, value: str, *, exact: bool = False, chip: str = "") -> str:
    if not value and not exact:
        return ""
    kind = ' class="exact"' if exact else ""
    said = f" <small>{escape(chip)}</small>" if chip else ""
    return f"<div><dt>{_text(name)}</dt><dd{kind}>{_text(value)}{said}</dd></div>"


def _preview(blocks: Iterable[Block]) -> Iterable[str]:
    for block in blocks:
        match block:
            case Table():
                yield _table(block)
            case Markdown():
                yield f"<p>{_text(block.text.replace('**', '').replace(chr(92), ''))}</p>"
            case _:
                continue


def _table(table: Table) -> str:
    title = f"<caption>{_text(table.title)}</caption>" if table.title else ""
    head = ""
    if any(name.strip() for name in table.columns):
        head = f"<tr>{''.join(f'<th>{_text(name)}</th>' for name in table.columns)}</tr>"
    rows = "".join(
        f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in table.rows
    )
    return f"<table>{title}{head}{rows}</table>"


def _shown(value: object) -> str:
    if value is None:
        return "left out"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(value: str) -> str:
    return escape(visible(value))
