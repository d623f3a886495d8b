"""Finds the tools that fit a request: meaning and words, fused."""

import asyncio
import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from nebula.tool.phrases import SUMMARY, phrases_of
from nebula.tool.registry import Registry
from nebula.tool.vectors.store import VectorStore
from nebula.tool.wording import Wording

if TYPE_CHECKING:
    from nebula.db.engine import Database

_SENTENCE, _SUMMARY = 0.25, 0.20
"""Weights of the cosine with the best sentence of a tool, and with its summary.

They and those of `wording` sum to 1. They are what logistic regression over the ranked tools
gave on the tuning half of benchmarks/p3.py, rounded, because the next tool will be another.
"""


class Embeds(Protocol):
    """What turns texts into unit vectors."""

    @property
    def name(self) -> str:
        """Name the model: vectors of different models do not compare."""
        ...

    @property
    def dimension(self) -> int:
        """Return the length of a vector."""
        ...

    async def embed(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """Return one unit vector per text."""
        ...


@dataclass(frozen=True)
class Ranked:
    """A tool with how well it fits: `score` orders, `cosine` (-1..1) says how close it is."""

    name: str
    score: float
    cosine: float


@dataclass(frozen=True)
class _Built:
    """The index of one catalogue: each row of `vectors` belongs to tool `owners[row]`."""

    names: list[str]
    positions: dict[str, int]
    starts: npt.NDArray[np.int64]
    vectors: npt.NDArray[np.float32]
    words: Wording


class ToolIndex:
    """The index over all registered tools; built on first use from the cache of this catalogue."""

    def __init__(self, registry: Registry, embedder: Embeds, db: "Database | None" = None) -> None:
        """Take what to index, what to embed with and where to cache."""
        self._registry = registry
        self._embedder = embedder
        self._store = VectorStore(db)
        self._built: _Built | None = None
        self._building = asyncio.Lock()

    async def rank(
        self, text: str, tools: Collection[str] | None = None, k: int = 8
    ) -> list[Ranked]:
        """Return the best `k` of the named tools (of all when None), best first.

        Raises:
            UpstreamUnavailable: when the embedding model is not installed.
        """
        built = await self._index()
        if not built.names or not text.strip():
            return []
        query = (await self._embedder.embed([text]))[0]
        every = built.vectors @ query
        # The best sentence of each tool counts: rows of one tool lie next to each other.
        cosines = np.maximum.reduceat(every, built.starts)
        summaries = every[built.starts + SUMMARY]
        scores = _SENTENCE * cosines + _SUMMARY * summaries + built.words.scores(text)
        if tools is None:
            allowed = np.arange(len(built.names))
        else:
            known = [built.positions[name] for name in tools if name in built.positions]
            allowed = np.array(known, np.int64)
        order = allowed[np.argsort(-scores[allowed], kind="stable")][:k]
        return [Ranked(built.names[i], float(scores[i]), float(cosines[i])) for i in order]

    async def warm(self) -> None:
        """Build the index now, so that the first request does not wait for it."""
        await self._index()

    async def _index(self) -> _Built:
        # A registry never changes once it is made, so one look at it is enough.
        if self._built is None:
            async with self._building:
                if self._built is None:
                    self._built = await self._build()
        return self._built

    async def _build(self) -> _Built:
        tools = list(self._registry)
        texts = [phrases_of(tool) for tool in tools]
        flat = [text for group in texts for text in group]
        # The key covers the texts themselves: another way to phrase tools is another catalogue.
        catalogue = [self._registry.catalogue_hash(), *flat]
        key = hashlib.sha256("\n".join(catalogue).encode()).hexdigest()
        shape = (len(flat), self._embedder.dimension)
        vectors = await self._store.load(key, self._embedder.name, shape)
        if vectors is None:
            vectors = await self._embedder.embed(flat)
            await self._store.save(key, self._embedder.name, vectors)
        sizes = [len(group) for group in texts]
        return _Built(
            names=[tool.name for tool in tools],
            positions={tool.name: index for index, tool in enumerate(tools)},
            starts=np.cumsum([0, *sizes[:-1]]) if sizes else np.zeros(0, np.int64),
            vectors=vectors,
            words=Wording([tool.feature for tool in tools], texts),
        )
