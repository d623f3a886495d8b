"""Finds listed words in messages, also when they are dressed up with look-alike letters.

Both sides are brought to one form: compatibility decomposition without accents (Unicode's NFKD),
lower case, look-alikes of other scripts and digits as Latin letters. Only whole words count.
"""

import re
import unicodedata
from collections.abc import Sequence

from ahocorasick_rs import AhoCorasick

_LOOK_ALIKE = str.maketrans(
    # Cyrillic and Greek letters that look like Latin ones.
    "авеѕкмнорстухіјԁԛԝһգαβεικνορτυχγωƒıł",
    "abeskmhopctyxijdqwhgabeikvoptuxywfil",
)
_DIGITS = str.maketrans("01345789@$!|l", "oieastbgasiii")
"""Also l, which 1 may stand for as well as for i: in both forms they are one letter."""
_INVISIBLE = re.compile("[\u00ad\u034f\u180e\u200b-\u200f\u2060-\u2064\ufe00-\ufe0f\ufeff]")
_TOKEN = re.compile(r"[\w@$!|]+")
_RUN = re.compile(r"(.)\1{2,}")
_SPACED = re.compile(r"(?<!\S)(?:\w ){2,}\w(?!\S)")


class Words:
    """A list of words, ready to be looked for."""

    def __init__(self, words: Sequence[str]) -> None:
        """Take the words as people write them."""
        self._known = {form(word): word for word in words if form(word).strip()}
        self._search = AhoCorasick([f" {key} " for key in self._known]) if self._known else None

    def first_in(self, text: str) -> str | None:
        """Return the first listed word that stands in a text, as it is listed."""
        if self._search is None:
            return None
        for variant in _variants(text):
            if found := self._search.find_matches_as_strings(f" {variant} "):
                return self._known[found[0].strip()]
        return None


def form(text: str) -> str:
    """Return the form in which words are compared, its words apart by one space."""
    visible = _INVISIBLE.sub("", text)
    split = unicodedata.normalize("NFKD", visible.casefold())
    bare = "".join(each for each in split if not unicodedata.combining(each))
    latin = bare.casefold().translate(_LOOK_ALIKE)
    return " ".join(_word(token) for token in _TOKEN.findall(latin.replace("_", " ")))


def _word(token: str) -> str:
    """Read digits and signs as letters where there are letters beside them; 100 stays 100."""
    stripped = token.strip("!|")
    if not any(each.isalpha() for each in stripped):
        return stripped
    return stripped.translate(_DIGITS)


def _variants(text: str) -> list[str]:
    plain = form(text)
    shorter = _RUN.sub(r"\1", plain)
    joined = _SPACED.sub(lambda found: found[0].replace(" ", ""), shorter)
    return list(dict.fromkeys([plain, shorter, joined]))
