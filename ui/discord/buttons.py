"""A button under a question or a job: who pressed it is checked, and the row decides."""

from typing import TYPE_CHECKING, Any, get_args

import discord

from nebula.errors import InvalidInput, NotFound, PermissionDenied
from nebula.tool.approvals import Answer, Approval
from ui.discord import jobs
from ui.discord.canvas import NOBODY
from ui.discord.cards import ask_for_changes, pressed
from ui.discord.slash import admitted, whisper
from ui.discord.turn import error_text

if TYPE_CHECKING:
    from nebula.auth.principal import Principal
    from ui.discord.client import Bot


async def decide(bot: "Bot", interaction: discord.Interaction) -> None:
    """Take an answer to a question; a second one finds the decision made and changes nothing.

    Raises:
        NebulaError: what to tell whoever pressed it, and nobody else.
    """
    data: dict[str, Any] = dict(interaction.data or {})
    if (job_id := jobs.pressed(str(data.get("custom_id", "")))) is not None:
        await jobs.press(bot, interaction, job_id)
        return
    found = pressed(str(data.get("custom_id", "")))
    if found is None:
        return
    principal = await admitted(bot, interaction)
    if principal is None:
        return
    approval = await _seen(bot, found[0], principal)
    wants_form = interaction.type is discord.InteractionType.component
    if found[1] == "request_changes" and wants_form:
        await interaction.response.send_modal(ask_for_changes(approval.id))
        return
    await _take(bot, interaction, approval, principal, (_answer(found[1]), _comment(data)))


async def _seen(bot: "Bot", approval_id: str, principal: "Principal") -> Approval:
    try:
        return await bot.app.parts.approvals.get(approval_id, principal)
    except NotFound as error:
        # Whoever may not see it does not learn whether it is there.
        raise PermissionDenied("This is not yours to decide.") from error


async def _take(
    bot: "Bot",
    interaction: discord.Interaction,
    approval: Approval,
    principal: "Principal",
    said: tuple[Answer, str],
) -> None:
    try:
        decided = await bot.app.parts.approvals.decide(
            approval.id, decision=said[0], by=principal, surface=bot.surface, comment=said[1]
        )
    except PermissionDenied as error:
        text = error_text(error.payload())
        await whisper(interaction, f"{text}\n{bot.cards.elsewhere(approval)}")
        return
    content, _ = bot.cards.drawn(decided)
    await interaction.response.edit_message(content=content, view=None, allowed_mentions=NOBODY)


def _answer(value: str) -> Answer:
    for answer in get_args(Answer):
        if value == answer:
            return answer  # type: ignore[no-any-return]
    raise InvalidInput("The answer is approve, deny or request_changes")


def _comment(data: Any) -> str:
    """Return what was written into the form, however deep Discord puts it."""
    for part in data.get("components") or ():
        if part.get("custom_id") == "comment":
            return str(part.get("value", ""))
        inner = {"components": [*(part.get("components") or ()), *_one(part.get("component"))]}
        if said := _comment(inner):
            return said
    return ""


def _one(part: Any) -> list[Any]:
    return [] if part is None else [part]
