"""How well the words of a request fit each tool: by BM25, on three scales."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nebula.tool.bm25 import BM25, words_and_concepts_of

WHOLE, SENTENCE, FEATURE = 0.25, 0.20, 0.10
"""Weights of what all texts of a tool say together, of its best sentence alone, and of all that
its feature says; see `retrieval` for where they come from."""


class Wording:
    """The words of a catalogue, indexed by tool, by sentence and by feature."""

    def __init__(self, features: Sequence[str], texts: Sequence[Sequence[str]]) -> None:
        """Take the feature and the sentences of each tool; no tool may be without a sentence."""
        sizes = [len(group) for group in texts]
        self._starts = np.cumsum([0, *sizes[:-1]]) if sizes else np.zeros(0, np.int64)
        self._whole = _index([" ".join(group) for group in texts])
        self._sentences = _index([text for group in texts for text in group])
        names = list(dict.fromkeys(features))
        said: dict[str, list[str]] = {name: [] for name in names}
        for feature, group in zip(features, texts, strict=True):
            said[feature] += group
        self._features = _index([" ".join(said[name]) for name in names])
        self._feature_of = np.array([names.index(feature) for feature in features], np.int64)

    def scores(self, text: str) -> npt.NDArray[np.float32]:
        """Return one score per tool, 0 (no word is shared) to the sum of the weights.

        Where few of the words are known at all, they say little, and count for less.
        """
        best = np.maximum.reduceat(self._sentences.scores(text), self._starts)
        feature = self._features.scores(text)[self._feature_of]
        whole = _share(self._whole.scores(text))
        fit = WHOLE * whole + SENTENCE * _share(best) + FEATURE * _share(feature)
        return np.asarray(fit * self._whole.known(text), np.float32)


def _index(documents: list[str]) -> BM25:
    return BM25(documents, words_and_concepts_of)


def _share(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Divide by the best, which makes scores of different requests compare."""
    best = float(scores.max(initial=0.0))
    return scores / best if best > 0 else scores
