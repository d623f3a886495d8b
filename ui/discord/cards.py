"""Questions to a person as messages with buttons. The row decides; the message only shows it."""

import json
import re
from typing import TYPE_CHECKING

import discord
import structlog

from nebula.errors import NebulaError
from nebula.markup.text import visible
from nebula.policy.ask import Level
from nebula.tool.approvals import Approval
from tools.discord.cards import Card, Cards
from tools.discord.places import ShownTurn
from ui.discord.canvas import Canvas, Gone
from ui.discord.drawing import Check
from ui.discord.render import code, code_block, safe, show
from ui.discord.split import LIMIT

if TYPE_CHECKING:
    from nebula.app import Parts
    from nebula.auth.principal import Principal

log = structlog.get_logger(__name__)

_BUTTON = re.compile(r"^approval:(apr_[A-Za-z0-9]+):(approve|deny|request_changes)$")
_STATES = {
    "approved": "✅ Approved",
    "used": "✅ Approved",
    "denied": "⛔ Denied",
    "changes_requested": "✏️ Changes requested",
    "expired": "⌛ Expired; ask again",
    "withdrawn": "⚪ No longer needed",
}


class CardTable:
    """Asks on Discord, and keeps what was asked up to date."""

    def __init__(self, parts: "Parts") -> None:
        """Take what knows the questions and where they stand."""
        self._parts = parts
        self.cards = Cards(parts.db)

    async def ask(self, approval_id: str, turn: ShownTurn, canvas: Canvas, check: Check) -> None:
        """Put a question below an answer, unless it stands on Discord already."""
        principal = await check()
        if await self.cards.of(approval_id) is not None:
            return
        approval = await self._parts.approvals.get(approval_id, principal)
        await self.put(approval, turn.channel_id, turn.discord_id, canvas)

    async def put(
        self, approval: Approval, channel_id: str, discord_id: str, canvas: Canvas
    ) -> None:
        """Put a question into a channel, for the account whose question it is."""
        content, view = self.drawn(approval)
        message_id = await canvas.post(content, view=view, nonce=approval.id[-25:])
        card = Card(
            approval_id=approval.id,
            channel_id=channel_id,
            message_id=message_id,
            discord_id=discord_id,
            expires_at=approval.expires_at,
        )
        await self.cards.note(card)

    def drawn(self, approval: Approval) -> tuple[str, discord.ui.View | None]:
        """Return a question's message: all of the call and buttons, or a link to its page."""
        text = _question(approval)
        if approval.state != "pending":
            return f"{text[: LIMIT - 300]}\n{_ending(approval)[:290]}", None
        yes_here = approval.level is not Level.CRITICAL and not approval.tainted
        whole = (
            text if yes_here else f"{text}\n{_why_not_here(approval)} {self.elsewhere(approval)}"
        )
        if len(whole) > LIMIT:
            # Nobody decides here about what is not wholly shown here.
            said = f"**This needs a decision:** {code(approval.tool)}, too long to show here."
            return f"{said}\n{self.elsewhere(approval)}", None
        preview = show(approval.evidence.preview, self._parts.settings.link).text
        if preview and len(whole) + len(preview) + 2 <= LIMIT:
            whole = f"{whole}\n\n{preview}"
        return whole, _buttons(approval.id, yes_here=yes_here)

    def elsewhere(self, approval: Approval) -> str:
        """Say where a question is decided when it is not here."""
        page = f"{self._parts.settings.link}/api/approvals/{approval.id}/page"
        return f"Decide it on its page: <{page}>"

    async def refresh(self, card: Card, principal: "Principal", canvas: Canvas) -> None:
        """Bring a question's message up to date after it was decided or has expired."""
        try:
            approval = await self._parts.approvals.get(card.approval_id, principal)
        except NebulaError as error:
            log.info("discord_card_unseen", approval=card.approval_id, why=str(error))
            await self.cards.close(card.approval_id)
            return
        if approval.state == "pending":
            return
        content, _ = self.drawn(approval)
        try:
            await canvas.edit(card.message_id, content)
        except Gone as error:
            log.info("discord_card_gone", approval=card.approval_id, why=str(error))
        await self.cards.close(card.approval_id)


def pressed(custom_id: str) -> tuple[str, str] | None:
    """Return which approval a button belongs to and what it answers, None for another button."""
    found = _BUTTON.match(custom_id)
    return None if found is None else (found[1], found[2])


def ask_for_changes(approval_id: str) -> discord.ui.Modal:
    """Return the form that asks what should change."""
    form = discord.ui.Modal(
        title="What should change?", custom_id=f"approval:{approval_id}:request_changes"
    )
    form.add_item(
        discord.ui.TextInput(
            label="In your own words",
            style=discord.TextStyle.paragraph,
            custom_id="comment",
            max_length=2000,
        )
    )
    return form


def _question(approval: Approval) -> str:
    arguments = visible(json.dumps(approval.arguments, indent=1, ensure_ascii=False))
    by = f" by the agent {code(approval.agent)}" if approval.agent else ""
    until = int(approval.expires_at.timestamp())
    lines = [
        f"**This needs a decision:** {code(approval.tool)} ({approval.effect})",
        code_block(arguments, "json") if approval.arguments else "*no arguments*",
        f"Why: {safe(visible(approval.reason))}",
        f"Asked for {code(approval.principal_name)}{by} · until <t:{until}:T> · {code(approval.id)}",
    ]
    return "\n".join(lines)


def _ending(approval: Approval) -> str:
    said = f"**{_STATES.get(approval.state, approval.state)}**"
    if approval.decided_by:
        said += f" by {code(approval.decided_by)} ({approval.decided_where})"
    return f"{said}: {safe(visible(approval.comment))}" if approval.comment else said


def _why_not_here(approval: Approval) -> str:
    if approval.tainted:
        return "Text from outside may have asked for it, so a yes is not given here."
    return "It weighs much, so a yes is not given here."


def _buttons(approval_id: str, *, yes_here: bool) -> discord.ui.View:
    """Return the buttons; each says in its id what it answers, so it works after a restart."""
    view = discord.ui.View(timeout=None)
    for label, style, answer in (
        ("Approve", discord.ButtonStyle.success, "approve"),
        ("Deny", discord.ButtonStyle.danger, "deny"),
        ("Request changes", discord.ButtonStyle.secondary, "request_changes"),
    ):
        if answer == "approve" and not yes_here:
            continue
        button: discord.ui.Button[discord.ui.View] = discord.ui.Button(
            label=label, style=style, custom_id=f"approval:{approval_id}:{answer}"
        )
        view.add_item(button)
    # Presses are heard as interactions; the library need not remember the message.
    view.stop()
    return view
