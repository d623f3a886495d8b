"""Okapi BM25 over a few hundred short documents, one numpy row per term."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_K1, _B = 1.5, 0.75
"""The usual saturation and length normalisation (Robertson & Zaragoza 2009)."""

_WORD = re.compile(r"[a-z0-9]+")
_ENDING = re.compile(r"(ings?|ed|es|s|e)$")


def words_of(text: str) -> list[str]:
    """Return lower-case words with common English endings cut off."""
    return [
        _ENDING.sub("", word) if len(word) > 4 else word for word in _WORD.findall(text.lower())
    ]


class BM25:
    """An inverted index that scores every document at once."""

    def __init__(self, documents: Sequence[str]) -> None:
        """Count the words of every document."""
        counts = [Counter(words_of(document)) for document in documents]
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
        for word in words_of(query):
            if word in self._rows:
                at, weight = self._rows[word]
                total[at] += weight
        return total
