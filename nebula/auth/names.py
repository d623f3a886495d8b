"""User names: normalised, bounded, and compared so that look-alikes count as the same."""

import re
import unicodedata

from nebula.errors import InvalidInput

MAX_LENGTH = 64
_SHAPE = re.compile(r"[\w][\w.@ -]*", re.UNICODE)

# Letters of other scripts that are drawn like a Latin one (after case folding).
_LOOKALIKES = str.maketrans(
    "аеорсухіјѕԁһӏԛԝкмтвнґ" + "αεοριυνκτχγ" + "\u0131\u0261\u0251",
    "aeopcyxijsdhlqwkmtbhr" + "aeopiuvktxy" + "iga",
)
_TOGETHER = frozenset({"HIRAGANA", "KATAKANA", "CJK"})


def clean_name(text: str) -> str:
    """Return a user name in the form it is shown in.

    Raises:
        InvalidInput: when it is empty, too long, holds other than letters, digits and `. _ - @`,
            or mixes scripts the way look-alike names do.
    """
    name = " ".join(unicodedata.normalize("NFKC", text).split())
    if not 1 <= len(name) <= MAX_LENGTH:
        raise InvalidInput(f"A user name has 1 to {MAX_LENGTH} characters")
    if not _SHAPE.fullmatch(name) or name.casefold().startswith("usr_"):
        raise InvalidInput("A user name holds letters, digits, spaces and . _ - @ only")
    if len(_scripts(name)) > 1:
        raise InvalidInput(
            "A user name uses letters of one script",
            hint="Letters of different alphabets can look alike; write it in one alphabet.",
        )
    return name


def name_key(name: str) -> str:
    """Return what a clean name is compared by: equal for names a person would confuse."""
    return unicodedata.normalize("NFKC", name.casefold()).translate(_LOOKALIKES)


def _scripts(name: str) -> set[str]:
    found = {unicodedata.name(c, "?").split()[0] for c in name if c.isalpha()}
    return found - _TOGETHER | ({"CJK"} if found & _TOGETHER else set())
