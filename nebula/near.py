"""Names what a person may have meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def near(word: str, known: Iterable[object], most: int = 8) -> str:
    """Return a hint that names the nearest known words, or some of them."""
    names = sorted(map(str, known))
    close = get_close_matches(word, names, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return (
        f"There is: {', '.join(names[:most])}{', …' if len(names) > most else ''}." if names else ""
    )
