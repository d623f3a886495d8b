"""Cleans what a person typed: invisible characters, politeness, punctuation."""

import re
import unicodedata
from functools import lru_cache

_NAME = r"(?:jarvis|nebula)"
_BEFORE = re.compile(
    r"^(?:"
    rf"(?:hey|hi|hello|yo|ok|okay|alright|dear|good (?:morning|evening|afternoon))[\s,]+{_NAME}\b"
    rf"|{_NAME}\b(?=[\s,:!-])"
    r"|(?:hey|hi|hello|ok|okay|so|um|uh|well|actually|quickly|quick|alright|and|now|then|also)\b(?=[\s,])"
    r"|(?:please|pls|plz|kindly|just|maybe|perhaps)\b"
    r"|(?:can|could|would|will)\s+(?:you|u)\b(?:\s+(?:please|kindly|maybe|just|quickly))?"
    r"|do me a favou?r and|go ahead and|be so kind (?:as to|and)|would you mind"
    r"|i(?:\s+would|'d)\s+(?:like|love)\s+(?:you\s+)?to"
    r"|i\s+(?:want|need)\s+(?:you\s+)?to|i\s+(?:want|need)\s+you\s+to"
    r"|let'?s|let us|time to|try to"
    r")[\s,:!;-]*",
    re.IGNORECASE,
)
_AFTER = re.compile(
    r"[\s,;-]+(?:please|pls|plz|thanks|thank you(?: very much| so much)?|thx|cheers|for me"
    rf"|right now|now|asap|real quick|if you can|if possible|will you|would you|{_NAME})[\s.!?]*$",
    re.IGNORECASE,
)
_IDS = {"job": "job", "wfr": "workflow run", "run": "agent run", "brd": "board"}
"""What an id's beginning says it is: sentences of tools name the thing before its id."""
_ID = re.compile(rf"(?<![\w/.:=-])({'|'.join(_IDS)})_[0-9a-f]+\b(?![\w/.:=-])")
_QUOTES = str.maketrans("\u201c\u201d\u201e\u00ab\u00bb\u2018\u2019", '"""""\'\'')
_QUESTION = re.compile(
    r"^(?:how|what|whats|what's|why|where|when|which|who|whose|can i|could i|may i|should i|do i|does"
    r"|did|is|are|was|were|am i|has|have|explain|tell me (?:about|how|why|what|where))\b",
    re.IGNORECASE,
)
_HOW_TO = re.compile(
    r"^(?:how (?:do|can|could|should|would) (?:i|we|you|one)\b|how to\b|explain\b"
    r"|what (?:is|'s) an? |what'?s an? |is it possible\b|tell me (?:about|how|why)\b"
    r"|what'?s the difference\b|what is the difference\b)",
    re.IGNORECASE,
)

_ABOUT = re.compile(r"^(?:explain|tell me about)\b", re.IGNORECASE)


def clean(text: str) -> str:
    """Drop invisible, control and direction-changing characters; make white space single."""
    visible = (
        " " if character in "\t\n\r\u2028\u2029" else character
        for character in unicodedata.normalize("NFC", text)
        if character in "\t\n\r\u2028\u2029" or unicodedata.category(character) not in _UNSEEN
    )
    return " ".join("".join(visible).translate(_QUOTES).split())


_UNSEEN = {"Cc", "Cf", "Co", "Cs", "Cn"}


def readings(text: str) -> list[str]:
    """Return ways to read a cleaned text, plainest first: without politeness, then as typed.

    Look-alikes of ASCII (full width, ligatures) are folded later, because folding changes
    what a person wrote into a message; last, "cancel job_9" is read as "cancel job job_9".
    """
    bare = without_politeness(text)
    folded = without_politeness(unicodedata.normalize("NFKC", text))
    return list(dict.fromkeys([bare, text, folded, _with_nouns(bare)]))


def _with_nouns(text: str) -> str:
    """Put before each id what it is, unless that stands there."""

    def named(found: re.Match[str]) -> str:
        noun = _IDS[found[1]]
        said = text[: found.start()].casefold().rstrip().endswith(noun)
        return found[0] if said else f"{noun} {found[0]}"

    return _ID.sub(named, text)


def without_politeness(text: str) -> str:
    """Cut "hey Jarvis, could you please … for me?" down to what is asked for."""
    while True:
        shorter = _AFTER.sub("", _BEFORE.sub("", text, count=1), count=1).strip()
        if not shorter or shorter == text:
            return text
        text = shorter


@lru_cache(maxsize=8192)
def plain(text: str) -> str:
    """Return a form in which two sentences are compared: folded case, words only."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"[\w'+#.:/-]*\w", folded))


def is_question(text: str) -> bool:
    """Say whether the text asks something."""
    return text.rstrip().endswith("?") or _QUESTION.match(text) is not None


def asks_how(text: str) -> bool:
    """Say whether the text asks for an explanation, as the manual gives it."""
    return _HOW_TO.match(text) is not None


def asks_about(text: str) -> bool:
    """Say whether the text asks about a thing: one that is here, as likely as one in the manual."""
    return _ABOUT.match(text) is not None
