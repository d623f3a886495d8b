"""Asks the person at the terminal about one exact call."""

import asyncio
import sys
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.text import Text

from nebula.markup.text import visible

if TYPE_CHECKING:
    from ui.cli.keyboard import Keyboard

Answer = Literal["approve", "deny", "request_changes"]

_ORIGINS = {
    "words": "   (in the request)",
    "registry": "   (known here)",
    "default": "   (default)",
    "endorsed": "   (vouched for)",
    "unknown": "   (origin unknown)",
}


def interactive() -> bool:
    """Say whether a person can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def draw_card(card: Mapping[str, Any], to: Console) -> None:
    """Show a question whole: every argument, untruncated, with hidden characters visible."""
    import json

    evidence = card.get("evidence") or {}
    to.print(Text("\nThis needs your decision", style="bold yellow"))
    if evidence.get("title"):
        to.print(Text(f"  {visible(str(evidence['title']))}", style="bold"))
    level = card.get("level") or card["effect"]
    to.print(Text(visible(f"  {card['tool']}  ({level})"), style="bold"))
    for key, value in card["arguments"].items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        origin = _ORIGINS.get((evidence.get("origins") or {}).get(key, ""), "")
        to.print(Text(f"  {visible(str(key))} = {visible(text)}{origin}"))
    if card.get("reason"):
        to.print(Text(f"  why: {visible(str(card['reason']))}"))
    if _outside(card):
        said = "  Text from outside was read before this was asked. Check every value."
        to.print(Text(said, style="yellow"))
    _draw_preview(evidence, to)
    to.print(
        Text(f"  {card.get('id') or card.get('approval_id')}, until {card['expires_at']}", "dim")
    )


def _draw_preview(evidence: Mapping[str, Any], to: Console) -> None:
    if evidence.get("preview"):
        from nebula.tool.evidence import Evidence
        from ui.cli.show import show_blocks

        show_blocks(Evidence.model_validate(evidence).preview, to)
    if evidence.get("no_preview"):
        to.print(Text(f"  no preview: {visible(str(evidence['no_preview']))}", "dim"))


def prompt_for(card: Mapping[str, Any]) -> str:
    """Return what to ask: one key is too little where outside text may have asked."""
    if in_full(card):
        return "Type approve, deny, or what should change: "
    return "Approve? [y]es, [n]o, or say what should change: "


def in_full(card: Mapping[str, Any]) -> bool:
    """Say whether a yes has to be written out."""
    return _outside(card)


def _outside(card: Mapping[str, Any]) -> bool:
    return bool(card.get("by_model", True)) and "outside" in (card.get("labels") or ())


def ask_person(card: Mapping[str, Any], to: Console) -> tuple[Answer, str]:
    """Ask yes, no, or what should change; an empty answer is asked again."""
    while True:
        to.print(Text(prompt_for(card)), end="")
        if (answer := answer_in(input(), in_full=in_full(card))) is not None:
            return answer


async def ask_at(
    keyboard: "Keyboard", card: Mapping[str, Any], answered: Coroutine[Any, Any, Mapping[str, Any]]
) -> "tuple[Answer, str] | Literal['left', 'elsewhere']":
    """Ask until there is an answer; the question goes away when `answered` says it has one."""
    elsewhere = asyncio.create_task(answered)
    try:
        while True:
            line = await keyboard.line(prompt_for(card), unless=elsewhere)
            if elsewhere.done():
                tell_elsewhere(elsewhere.result())
                return "elsewhere"
            if line is None:
                return "left"
            if (answer := answer_in(line, in_full=in_full(card))) is not None:
                return answer
    finally:
        elsewhere.cancel()
        await asyncio.gather(elsewhere, return_exceptions=True)


def answer_in(line: str, *, in_full: bool = False) -> tuple[Answer, str] | None:
    """Read a person's answer: yes, no, or a comment that asks for changes; None when unclear."""
    said = line.strip()
    match said.lower():
        case "":
            return None
        case "approve":
            return "approve", ""
        case "y" | "yes":
            return None if in_full else ("approve", "")
        case "n" | "no" | "deny":
            return "deny", ""
        case _:
            return "request_changes", said


def tell_elsewhere(card: Mapping[str, Any]) -> None:
    """Say that a question needs no answer here any more."""
    state = str(card["state"]).replace("_", " ")
    by = f" by {card['decided_by']} ({card['decided_where']})" if card.get("decided_by") else ""
    if state == "withdrawn":
        state, by = "no longer needed", f": {card.get('comment', '')}"
    from ui.cli.show import console

    to = console(error=True)
    to.print(Text("\n" + visible(f"  {card['tool']}: {state}{by}"), style="dim"))
