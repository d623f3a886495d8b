"""What a person typed, cut into clauses and typed values. What they only quoted says nothing.

Nothing here looks for a text inside another: a value is a whole token, or several in their order.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

LONGEST = 2_000
"""Characters; a longer message is taken for pasted text, which vouches for nothing."""

_FENCE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)", re.DOTALL)
_OUTSIDE = re.compile(r"<outside\b.*?(?:</outside>|\Z)", re.DOTALL | re.IGNORECASE)
_CITED_LINE = re.compile(r"^\s*>.*$", re.MULTILINE)
_QUOTED = re.compile(
    r'"[^"\n]*"|`[^`\n]*`|\u201c[^\u201d\n]*\u201d|\u201e[^\u201c\u201d\n]*[\u201c\u201d]'
    r"|\u00ab[^\u00bb\n]*\u00bb|\u2018[^\u2019\n]*\u2019(?!\w)|(?<!\w)'[^'\n]*'(?!\w)"
)
_SENTENCE = re.compile(r"[.;!?](?=\s|$)|\n")
_JOINT = re.compile(
    r"(?P<hard>\s*,?\s+\b(?:(?:and\s+)?(?:then|afterwards|after\s+that|finally)|but|instead)\b\s*)"
    r"|(?P<soft>\s*,\s+(?:and|or)\s+|\s*,\s+|\s+(?:and|or)\s+)",
    re.IGNORECASE,
)
_NEGATION = re.compile(
    r"\b(?:not|never|no|none|neither|nor|without|except|avoid|refuse|dont|cannot)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
_LEADING = "([{<\"'\u201c\u201e\u00ab\u2018`*_"
_TRAILING = ".,;:!?)]}>\"'\u201d\u00bb\u2019`*\u2026"


@dataclass(frozen=True)
class Clause:
    """One thing that was said; `negated` when it says what is not to be, or follows on from that."""

    text: str
    sentence: str
    negated: bool


@dataclass(frozen=True)
class Said:
    """What a person typed, as values."""

    runs: tuple[tuple[str, ...], ...] = ()
    """Tokens as typed, in their order; a run ends where a sentence, a quote or a negation does."""

    @property
    def tokens(self) -> frozenset[str]:
        """Return every token."""
        return frozenset(token for run in self.runs for token in run)


def said(messages: tuple[str, ...]) -> Said:
    """Return the values in a person's own messages."""
    return Said(tuple(run for message in messages for run in _runs(message)))


def clauses(message: str) -> list[Clause]:
    """Cut a message at its sentences and joints; quotes are never cut, and cited text is gone."""
    if len(message) > LONGEST:
        return []
    own = _own(message)
    masked = _QUOTED.sub(lambda quote: "\u0000" * len(quote[0]), own)
    found: list[Clause] = []
    for begin, end in _spans(masked, _SENTENCE):
        negated = False
        whole = own[begin:end].strip()
        for text, masked_text, hard in _parts(own[begin:end], masked[begin:end]):
            negated = _NEGATION.search(masked_text) is not None or (negated and not hard)
            if text.strip():
                found.append(Clause(text.strip(), whole + _mark(own, end), negated))
    return found


def tokens(text: str) -> tuple[str, ...]:
    """Return the words of a text without the punctuation around them; letters stay as they are."""
    parts = (each.lstrip(_LEADING).rstrip(_TRAILING) for each in _normal(text).split())
    return tuple(part for part in parts if part)


def folded(text: str) -> tuple[str, ...]:
    """Return the words of a text in the form in which words are compared."""
    return tuple(token.casefold() for token in tokens(text))


def holds(run: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Say whether a run has these tokens, whole and in this order, side by side."""
    size = len(wanted)
    return size > 0 and any(run[at : at + size] == wanted for at in range(len(run) - size + 1))


@lru_cache(maxsize=512)
def _runs(message: str) -> tuple[tuple[str, ...], ...]:
    """Return the tokens of what is neither quoted nor negated; a message never changes."""
    parts = (
        tokens(part)
        for clause in clauses(message)
        if not clause.negated
        for part in _QUOTED.split(clause.text)
    )
    return tuple(part for part in parts if part)


def _own(message: str) -> str:
    """Leave out what is set apart as somebody else's text."""
    text = _normal(message).replace("\r", "\n")
    return _CITED_LINE.sub("\n", _OUTSIDE.sub("\n", _FENCE.sub("\n", text)))


def _normal(text: str) -> str:
    # NFC only: look-alikes (full width, ligatures, other scripts) stay what they are.
    return unicodedata.normalize("NFC", text)


def _spans(text: str, ends: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    begin = 0
    for end in ends.finditer(text):
        yield begin, end.start()
        begin = end.end()
    yield begin, len(text)


def _mark(text: str, at: int) -> str:
    return text[at] if at < len(text) and text[at] == "?" else ""


def _parts(own: str, masked: str) -> Iterator[tuple[str, str, bool]]:
    """Yield (text, text without quotes, whether a negation before it has ended)."""
    begin, hard = 0, True
    for joint in _JOINT.finditer(masked):
        yield own[begin : joint.start()], masked[begin : joint.start()], hard
        begin, hard = joint.end(), joint["hard"] is not None
    yield own[begin:], masked[begin:], hard
