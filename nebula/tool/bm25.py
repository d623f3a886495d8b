"""Okapi BM25 over a few hundred short documents, one numpy row per term."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from nebula.tool.synonyms import concepts_of

_K1, _B = 1.5, 0.75
"""The usual saturation and length normalisation (Robertson & Zaragoza 2009)."""

_WORD = re.compile(r"[a-z0-9]+")
_FOUR_LETTER_PLURAL = re.compile(r"[a-z]{2}[^sui]s")
_ENDING = re.compile(r"(ings?|ed|es|s|e)$")


def words_of(text: str) -> list[str]:
    """Return lower-case words with common English endings cut off."""
    return [_stem(word) for word in _WORD.findall(text.lower())]


def words_and_concepts_of(text: str) -> list[str]:
    """Return the words, and for each what it means by `synonyms`."""
    words = words_of(text)
    return words + concepts_of(words, _stem)


def _stem(word: str) -> str:
    if len(word) > 4:
        return _ENDING.sub("", word)
    return word[:-1] if _FOUR_LETTER_PLURAL.fullmatch(word) else word


class BM25:
    """An inverted index that scores every document at once."""

    def __init__(
        self, documents: Sequence[str], read: Callable[[str], list[str]] = words_of
    ) -> None:
        """Count the words of every document; `read` says what its words are."""
        self._read = read
        counts = [Counter(read(document)) for document in documents]
        self._size = len(documents)
        lengths = np.array([count.total() for count in counts], np.float32)
        mean = float(lengths.mean()) if self._size else 1.0
        penalty = _K1 * (1 - _B + _B * lengths / (mean or 1.0))
        postings: dict[str, list[int]] = defaultdict(list)
        for index, count in enumerate(counts):
            for word in count:
                postings[word].append(index)
        self._rows: dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]] = {}
        for word, holders in postings.items():
            at = np.array(holders)
            often = np.array([counts[index][word] for index in holders], np.float32)
            # The +1 keeps words found in most documents from counting against them.
            rarity = np.log(1 + (self._size - len(holders) + 0.5) / (len(holders) + 0.5))
            weight = rarity * often * (_K1 + 1) / (often + penalty[at])
            self._rows[word] = (at, weight.astype(np.float32))

    def scores(self, query: str) -> npt.NDArray[np.float32]:
        """Return one score per document; 0 where no word is shared."""
        total = np.zeros(self._size, np.float32)
        for word in self._read(query):
            if word in self._rows:
                at, weight = self._rows[word]
                total[at] += weight
        return total

    def known(self, query: str) -> float:
        """Return the share of the query's words that some document has."""
        words = self._read(query)
        return sum(word in self._rows for word in words) / len(words) if words else 0.0
