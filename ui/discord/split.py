"""Long answers in messages of Discord's size: cut between blocks, and code never cut in half."""

import re
from dataclasses import dataclass

LIMIT = 2000
"""Characters of one message."""

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)(.*)")
_TICKS = re.compile(r"`{3,}")
_WORD = 40
"""A word is only cut when none ends within so many characters before the limit."""


@dataclass(frozen=True)
class _Piece:
    """A block of text that stays whole while it fits one message."""

    text: str
    language: str | None = None
    """The language after the fence, for code; None for prose."""
    gap: str = "\n\n"
    """What stands between it and the piece before."""


def split(text: str, limit: int = LIMIT) -> list[str]:
    """Return a text in parts of at most `limit` characters.

    A part ends between paragraphs, else between lines, sentences or words. A code block stays
    whole; one longer than a message is closed at the end of each part and opened in the next.
    """
    parts: list[str] = []
    for piece in _pieces(text):
        joined = f"{parts[-1]}{piece.gap}{piece.text}" if parts else piece.text
        if len(joined) <= limit:
            parts[-1:] = [joined]
        elif len(piece.text) <= limit:
            parts.append(piece.text)
        elif piece.language is None:
            parts += _cut(piece.text, limit)
        else:
            parts += _cut_code(piece, limit)
    return [part for part in parts if part.strip()]


def _pieces(text: str) -> list[_Piece]:
    """Return paragraphs and code blocks; a block that is not closed yet is closed."""
    pieces: list[_Piece] = []
    lines: list[str] = []
    fence: tuple[str, str] | None = None
    gap = ""

    def flush(language: str | None = None) -> None:
        nonlocal gap
        whole = "\n".join(lines)
        if whole.strip() or language is not None:
            pieces.append(_Piece(whole, language, gap))
            gap = "\n"
        lines.clear()

    for line in text.split("\n"):
        found = _FENCE.match(line)
        if fence is None and found and not ("`" in found[1] and "`" in found[3]):
            flush()
            lines.append(f"```{found[2]}")
            if found[3].strip():
                lines.append(inert(found[3].strip()))
            fence = (found[1], found[2])
        elif fence is not None:
            if found and found[1].startswith(fence[0]) and not (found[2] + found[3]).strip():
                lines.append("```")
                flush(fence[1])
                fence = None
            else:
                lines.append(inert(line))
        elif line.strip():
            lines.append(inert(line))
        else:
            flush()
            gap = "\n\n"
    if fence is not None:
        lines.append("```")
    flush(None if fence is None else fence[1])
    return pieces


def inert(text: str) -> str:
    """Keep backticks inside a block from ending it on Discord, which ends it anywhere."""
    return _TICKS.sub(lambda found: "\u200b".join(found[0]), text)


def _cut(text: str, limit: int) -> list[str]:
    parts = []
    while len(text) > limit:
        at = _place_to_cut(text, limit)
        parts.append(text[:at].rstrip())
        text = text[at:].lstrip("\n ") if text[at:].strip() else ""
    return [*parts, text] if text else parts


def _place_to_cut(text: str, limit: int) -> int:
    """Return where a part ends: after a line, a sentence, a word, or at the limit."""
    window = text[:limit]
    for sign, least in (("\n", limit // 2), (". ", limit // 2), (" ", limit - _WORD)):
        at = window.rfind(sign)
        if at >= max(1, least):
            return at + len(sign)
    at = window.rfind(" ")
    return at + 1 if at > 0 and at >= limit // 2 else limit


def _cut_code(piece: _Piece, limit: int) -> list[str]:
    opening, closing = f"```{piece.language}\n"[: limit // 2], "\n```"
    room = limit - len(opening) - len(closing)
    body = piece.text.split("\n")[1:-1]
    parts, held = [], ""
    for line in (short for whole in body for short in _slices(whole, room)):
        longer = f"{held}\n{line}" if held else line
        if len(longer) > room:
            parts.append(held)
            longer = line
        held = longer
    return [f"{opening}{part}{closing}" for part in [*parts, held] if part]


def _slices(line: str, room: int) -> list[str]:
    return [line[at : at + room] for at in range(0, len(line), room)] or [""]
