"""Finds passages: full text and vectors fused in one query, under the reader's rights.

Reciprocal rank fusion with k = 60: Cormack, Clarke and Büttcher, SIGIR 2009.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import numpy as np
import numpy.typing as npt

from knowledge.counts import memory_of
from knowledge.queries import BY_INDEX, BY_SCAN, NEIGHBOURS, SETTINGS, WORDS
from nebula.auth.principal import Principal, Role
from nebula.policy.labels import Label

if TYPE_CHECKING:
    from nebula.db.bare import Bare
    from nebula.db.engine import Database
    from nebula.llm.embedding import Embedder

EXACT_ROWS = 5_000
"""Up to this many readable passages, looking at each of them is faster than the indexes."""

EXACT_SHARE = 0.03
"""Below this share the HNSW index meets too few readable passages on its way: recall falls."""

MIN_SIMILARITY = 0.32
"""Cosine below which a passage that does not hold every word of the question is noise."""

MAX_CANDIDATES = 150
"""How many passages the rare words of a question may fetch, by the statistics' estimate."""

_EF, _MAX_EF = 120, 1_000
_MOST_READABLE = 0.8


@dataclass(frozen=True)
class Filters:
    """What a search is narrowed to; None means no narrowing."""

    collection: str | None = None
    kind: str | None = None
    source: str | None = None
    owner: str | None = None


class Hit(NamedTuple):
    """A passage that was found."""

    chunk: int
    document: UUID
    section: int
    position: int
    heading: str
    place: str
    text: str
    title: str
    source: str
    kind: str
    collection: str
    score: float
    similarity: float
    whole: bool
    """Whether it holds every word of the question."""
    label: Label


@dataclass(frozen=True)
class Found:
    """What a search found, and among how many readable documents."""

    hits: list[Hit]
    documents: int
    exact: bool
    """Whether every readable passage was measured, instead of walking the index."""


@dataclass(frozen=True)
class Way:
    """How a search is made: every readable passage measured, or along the indexes."""

    exact: bool
    documents: int
    ef: int = _EF
    rare: str | None = None
    """The words of which a passage needs any, as a tsquery; None means every word counts."""


class Search:
    """Searches what a principal may read; visibility is part of the query itself."""

    def __init__(self, db: "Database", embedder: "Embedder") -> None:
        """Take the database and the model that made the vectors."""
        self._db = db
        self._embedder = embedder

    async def find(
        self, query: str, who: Principal, *, filters: Filters | None = None, limit: int = 10
    ) -> Found:
        """Return the best passages for a question, best first."""
        vector = (await self._embedder.embed([query]))[0]
        return await self.find_near(query, vector, who, filters=filters, limit=limit)

    async def find_near(
        self,
        query: str,
        vector: npt.NDArray[np.float32],
        who: Principal,
        *,
        filters: Filters | None = None,
        limit: int = 10,
    ) -> Found:
        """Return the best passages for a question whose vector (384, unit length) is known."""
        reader = {**_values(who, filters or Filters()), "model": self._embedder.name}
        async with self._db.bare(writes=False) as db:
            way = await self.way(db, query, reader)
            asked = {"query": query, "rare": way.rare, "vector": _written(vector), "limit": limit}
            async with db.together():
                await db.execute(SETTINGS, {"ef": str(way.ef)})
                rows = await db.execute(BY_SCAN if way.exact else BY_INDEX, {**reader, **asked})
            # Only now: asking for rows inside would wait for the server once more.
            hits = [_hit(row) for row in await rows.fetchall()]
        return Found(hits, way.documents, way.exact)

    async def way(self, db: "Bare", query: str, reader: Mapping[str, object]) -> "Way":
        """Choose how to search, by how much the reader may read and how common the words are."""
        memory = memory_of(self._db)
        counts = await memory.counts(db, reader)
        if reads_all(counts.readable, counts.total):
            return Way(True, counts.documents)
        words = await db.scalar(WORDS, {"query": query})
        rare = rare_words(words, await memory.usual(db), counts.total)
        share = counts.readable / counts.total
        # The fewer are readable, the more passages the index has to meet.
        ef = _EF if share >= _MOST_READABLE else min(_MAX_EF, round(_EF / share))
        return Way(False, counts.documents, ef, _any_of(rare))

    async def around(self, hit: Hit, *, before: int = 2, after: int = 3) -> str:
        """Return a passage with its neighbours of the same section, as one text."""
        async with self._db.session() as session:
            rows = await session.scalars(
                NEIGHBOURS,
                {
                    "document": hit.document,
                    "section": hit.section,
                    "first": hit.position - before,
                    "last": hit.position + after,
                },
            )
            return "\n\n".join(rows.all()) or hit.text


def reads_all(readable: int, total: int) -> bool:
    """Say whether to measure every readable passage instead of walking the HNSW index."""
    return readable <= EXACT_ROWS or readable < total * EXACT_SHARE


def relevant(hit: Hit) -> bool:
    """Say whether a hit speaks to the question at all."""
    return hit.whole or hit.similarity >= MIN_SIMILARITY


def rare_words(words: Sequence[str], usual: Mapping[str, Any], passages: int) -> list[str]:
    """Return the rarest words whose passages together are few enough to rank them all.

    `usual` holds how large a share of the passages has a common word (`shares`); every other
    word is in at most a share of `least`. The rarest word always stands.
    """
    least = float(usual.get("least") or 0.0)
    shares = usual.get("shares") or {}
    by_share = sorted(words, key=lambda word: float(shares.get(word, least)))
    kept: list[str] = []
    budget = MAX_CANDIDATES / max(passages, 1)
    for word in by_share:
        budget -= float(shares.get(word, least))
        if kept and budget < 0:
            break
        kept.append(word)
    return kept


def _values(who: Principal, filters: Filters) -> dict[str, object]:
    return {
        "me": who.id,
        "role": who.role.value,
        "sees_roles": who.role is Role.ADMIN,
        "collection": filters.collection,
        "kind": filters.kind,
        "source": filters.source,
        "owner": who.id if filters.owner == "me" else filters.owner,
    }


def _any_of(words: Sequence[str]) -> str:
    """Write a tsquery for any of some lexemes."""
    quoted = (word.replace("\\", "\\\\").replace("'", "''") for word in words)
    return " | ".join(f"'{word}'" for word in quoted)


def _written(vector: npt.NDArray[np.float32]) -> str:
    """Write a vector as pgvector reads it, with more digits than a half-precision float has."""
    values = vector.tolist()
    return "[" + ("%.5g," * len(values) % tuple(values))[:-1] + "]"


def _hit(row: tuple[Any, ...]) -> Hit:
    *values, label = row
    return Hit._make([*values, Label(label)])
