"""Asks the person at the terminal about one exact call."""

import sys
from collections.abc import Mapping
from typing import Any, Literal

from rich.console import Console
from rich.text import Text

from nebula.markup.text import visible

Answer = Literal["approve", "deny", "request_changes"]


def interactive() -> bool:
    """Say whether a person can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def draw_card(card: Mapping[str, Any], to: Console) -> None:
    """Show a question whole: every argument, untruncated, with hidden characters visible."""
    import json

    to.print(Text("\nThis needs your decision", style="bold yellow"))
    to.print(Text(visible(f"  {card['tool']}  ({card['effect']})"), style="bold"))
    for key, value in card["arguments"].items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        to.print(Text(f"  {visible(str(key))} = {visible(text)}"))
    if card.get("reason"):
        to.print(Text(f"  why: {visible(str(card['reason']))}"))
    to.print(
        Text(f"  {card.get('id') or card.get('approval_id')}, until {card['expires_at']}", "dim")
    )


def ask_person(to: Console) -> tuple[Answer, str]:
    """Ask yes, no, or what should change; an empty answer is asked again."""
    while True:
        to.print(Text("Approve? [y]es, [n]o, or say what should change: "), end="")
        if (answer := answer_in(input())) is not None:
            return answer


def answer_in(line: str) -> tuple[Answer, str] | None:
    """Read a person's answer: yes, no, or a comment that asks for changes; None when empty."""
    said = line.strip()
    match said.lower():
        case "":
            return None
        case "y" | "yes":
            return "approve", ""
        case "n" | "no":
            return "deny", ""
        case _:
            return "request_changes", said
