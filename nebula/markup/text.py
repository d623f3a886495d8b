"""Characters that a reader cannot see, or that a terminal obeys, made visible."""

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|~<>$])")
_UNUSUAL = re.compile(r"[^\n\t\x20-\x7e]")
# Letters that draw nothing: Hangul and Khmer fillers, the Mongolian vowel separator.
_BLANK: Final = frozenset("\u115f\u1160\u17b4\u17b5\u180e\u3164\uffa0")
# Format characters of Arabic and other scripts that are drawn like any letter.
_DRAWN: Final = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2")
_JOINERS: Final = "\u200c\u200d"
# Scripts whose spelling needs joiners; in any other they only hide something.
_JOINING: Final = (
    *("ARABIC", "BENGALI", "DEVANAGARI", "GUJARATI", "GURMUKHI", "KANNADA", "KHMER"),
    *("MALAYALAM", "MYANMAR", "ORIYA", "SINHALA", "SYRIAC", "TAMIL", "TELUGU"),
)
_OBEYED: Final = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def visible(text: str) -> str:
    """Make control, bidirectional and invisible characters visible as \\uXXXX.

    For values that a person decides on: joiners are shown even where a script needs them.
    """
    return _UNUSUAL.sub(lambda found: _shown(found.string, found.start(), prose=False), text)


def prose(text: str, start: int = 0) -> str:
    """Make them visible in running text, from `start` on; emoji and joined scripts stay whole."""
    return _UNUSUAL.sub(
        lambda found: (
            _shown(found.string, found.start(), prose=True) if found.start() >= start else found[0]
        ),
        text,
    )[start:]


def escape(text: str) -> str:
    """Neutralise a value inside our Markdown: no markup, no HTML, no hidden characters."""
    return _MARKUP.sub(r"\\\1", visible(text).replace("\n", " "))


def visible_in(value: Any) -> Any:
    """Make every text inside plain JSON data visible."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible_in(key): visible_in(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [visible_in(inner) for inner in value]
    return value


def json_line(value: Any) -> str:
    """Write JSON that a terminal cannot obey: the same document, hidden characters as escapes."""
    written = json.dumps(value, ensure_ascii=False)
    return _UNUSUAL.sub(
        lambda found: (
            json.dumps(found[0])[1:-1] if _hidden(found.string, found.start()) else found[0]
        ),
        written,
    )


def _shown(text: str, at: int, *, prose: bool) -> str:
    char = text[at]
    if not _hidden(text, at) or (prose and char in _JOINERS and _joins(text, at)):
        return char
    return f"\\u{ord(char):04x}"


def _hidden(text: str, at: int) -> bool:
    char = text[at]
    if _is_selector(char):
        return not _selects(text, at)
    return char in _BLANK or (unicodedata.category(char) in _OBEYED and char not in _DRAWN)


def _is_selector(char: str) -> bool:
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"


def _selects(text: str, at: int) -> bool:
    """Say whether a variation selector has a sign to vary; rows of them carry hidden bytes."""
    before = text[at - 1] if at else ""
    if not before or _is_selector(before):
        return False
    return (
        unicodedata.category(before) in {"Lo", "So", "Sm", "Sk", "Po"} or before in "0123456789#*"
    )


def _joins(text: str, at: int) -> bool:
    """Say whether a joiner stands between two signs of an emoji, or letters that need it."""
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    if not at or not after:
        return False
    if text[at] == "\u200d" and unicodedata.category(after) == "So":
        return before == "\ufe0f" or unicodedata.category(before) in {"So", "Sk"}
    named = (unicodedata.name(side, "") for side in (before, after))
    return all(name.startswith(_JOINING) for name in named)
