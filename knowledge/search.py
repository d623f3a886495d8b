"""Finds passages: full text and vectors fused in one query, under the reader's rights.

Reciprocal rank fusion with k = 60: Cormack, Clarke and Büttcher, SIGIR 2009.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import numpy as np
import numpy.typing as npt
from pgvector import HalfVector
from sqlalchemy import text

from nebula.auth.principal import Principal, Role
from nebula.policy.labels import Label

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from nebula.db.engine import Database
    from nebula.llm.embedding import Embedder

EXACT_ROWS = 5_000
"""Up to this many readable passages, looking at each of them is faster than the index."""

EXACT_SHARE = 0.1
"""Below this share the index meets too few readable passages on its way: recall falls."""

CANDIDATES = 2_000
"""Passages that the full-text side ranks at most."""

MIN_SIMILARITY = 0.25
"""Cosine below which a passage that does not hold every word of the question is noise."""

_POOL = 40
_MAX_EF = 1_000

_READABLE = """
readable AS MATERIALIZED (
    SELECT d.id FROM knowledge_documents d
    JOIN knowledge_collections k ON k.id = d.collection_id
    WHERE (d.owner = :me OR d.visibility = 'everyone'
           OR (d.visibility = 'role' AND (d.role = :role OR :sees_roles)))
      AND (CAST(:collection AS text) IS NULL OR k.name = :collection)
      AND (CAST(:kind AS text) IS NULL OR d.kind = :kind)
      AND (CAST(:source AS text) IS NULL
           OR strpos(lower(d.source), lower(:source)) > 0
           OR strpos(lower(d.title), lower(:source)) > 0)
      AND (CAST(:owner AS text) IS NULL OR d.owner = :owner OR d.owner_name = :owner)
      AND k.model = :model
)
"""

_PLAN_TAIL = """
SELECT (SELECT coalesce(sum(d.chunks), 0) FROM knowledge_documents d
        WHERE d.id IN (SELECT id FROM readable)) AS readable,
       (SELECT coalesce(sum(chunks), 0) FROM knowledge_documents) AS total,
       (SELECT count(*) FROM readable) AS documents
"""

_PLAN = text("WITH " + _READABLE + _PLAN_TAIL)

_SET = text(
    """
    SELECT set_config('hnsw.ef_search', :ef, true),
           set_config('hnsw.iterative_scan', 'strict_order', true),
           set_config('plan_cache_mode', 'force_custom_plan', true),
           set_config('enable_seqscan', :scan, true)
    """
)

# The index knows only distance: it is walked in order, and each passage met is checked.
_NEAR_BY_INDEX = """
near AS MATERIALIZED (
    SELECT c.id, c.embedding <=> CAST(:vector AS halfvec(384)) AS distance
    FROM knowledge_chunks c
    WHERE EXISTS (SELECT 1 FROM readable r WHERE r.id = c.document_id)
    ORDER BY c.embedding <=> CAST(:vector AS halfvec(384))
    LIMIT :pool
)
"""

# `+ 0` keeps the index out: every readable passage is measured.
_NEAR_BY_SCAN = """
near AS MATERIALIZED (
    SELECT c.id, c.embedding <=> CAST(:vector AS halfvec(384)) AS distance
    FROM knowledge_chunks c JOIN readable r ON r.id = c.document_id
    ORDER BY (c.embedding <=> CAST(:vector AS halfvec(384))) + 0
    LIMIT :pool
)
"""

# Passages with every word come first; those with any word fill up, unless words are excluded.
_WORDS = """
asked AS MATERIALIZED (
    SELECT q AS every,
           CASE WHEN q::text LIKE '%!%' THEN q
                ELSE replace(q::text, ' & ', ' | ')::tsquery END AS loose
    FROM websearch_to_tsquery('english', :query) q
),
candidates AS MATERIALIZED (
    (SELECT c.id, c.words, true AS whole
     FROM knowledge_chunks c JOIN readable r ON r.id = c.document_id
     WHERE c.words @@ (SELECT every FROM asked)
     LIMIT :half)
    UNION ALL
    (SELECT c.id, c.words, false
     FROM knowledge_chunks c JOIN readable r ON r.id = c.document_id
     WHERE c.words @@ (SELECT loose FROM asked)
     LIMIT :half)
),
worded AS MATERIALIZED (
    SELECT id, bool_or(whole) AS whole,
           max(ts_rank_cd(words, (SELECT loose FROM asked), 1)) AS rank
    FROM candidates GROUP BY id
    ORDER BY whole DESC, rank DESC LIMIT :pool
)
"""

_FUSED = """
fused AS (
    SELECT id, sum(points) AS score, bool_or(whole) AS whole
    FROM (
        SELECT id, 1.0 / (60 + row_number() OVER (ORDER BY distance)) AS points, false AS whole
        FROM near
        UNION ALL
        SELECT id, 1.0 / (60 + row_number() OVER (ORDER BY whole DESC, rank DESC)), whole
        FROM worded
    ) ranked
    GROUP BY id ORDER BY score DESC LIMIT :pool
)
SELECT c.id AS chunk, c.document_id, c.section, c.position, c.heading, c.place, c.text,
       d.title, d.source, d.kind, d.label, k.name AS collection,
       f.score, f.whole, 1 - (c.embedding <=> CAST(:vector AS halfvec(384))) AS similarity
FROM fused f
JOIN knowledge_chunks c ON c.id = f.id
JOIN knowledge_documents d ON d.id = c.document_id
JOIN knowledge_collections k ON k.id = d.collection_id
ORDER BY f.score DESC, similarity DESC
LIMIT :limit
"""

_BY_INDEX = text("WITH " + ",".join([_READABLE, _NEAR_BY_INDEX, _WORDS, _FUSED]))
_BY_SCAN = text("WITH " + ",".join([_READABLE, _NEAR_BY_SCAN, _WORDS, _FUSED]))

_NEIGHBOURS = text(
    """
    SELECT text FROM knowledge_chunks
    WHERE document_id = :document AND section = :section
      AND position BETWEEN :first AND :last
    ORDER BY position
    """
)


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
    label: Label
    collection: str
    score: float
    similarity: float
    whole: bool
    """Whether it holds every word of the question."""


@dataclass(frozen=True)
class Found:
    """What a search found, and among how many readable documents."""

    hits: list[Hit]
    documents: int
    exact: bool
    """Whether every readable passage was measured, instead of walking the index."""


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
        values = _values(who, filters or Filters(), self._embedder.name)
        async with self._db.session() as session:
            plan = (await session.execute(_PLAN, values)).one()
            exact = reads_all(plan.readable, plan.total)
            share = plan.readable / plan.total if plan.total else 1.0
            await _configure(session, exact, share)
            rows = await session.execute(
                _BY_SCAN if exact else _BY_INDEX,
                {
                    **values,
                    "query": query,
                    "vector": HalfVector(vector).to_text(),
                    "pool": max(_POOL, limit),
                    "half": CANDIDATES // 2,
                    "limit": limit,
                },
            )
            return Found([_hit(row) for row in rows], plan.documents, exact)

    async def around(self, hit: Hit, *, before: int = 2, after: int = 3) -> str:
        """Return a passage with its neighbours of the same section, as one text."""
        async with self._db.session() as session:
            rows = await session.scalars(
                _NEIGHBOURS,
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


def _values(who: Principal, filters: Filters, model: str) -> dict[str, object]:
    return {
        "me": who.id,
        "role": who.role.value,
        "sees_roles": who.role is Role.ADMIN,
        "collection": filters.collection,
        "kind": filters.kind,
        "source": filters.source,
        "owner": who.id if filters.owner == "me" else filters.owner,
        "model": model,
    }


async def _configure(session: "AsyncSession", exact: bool, share: float) -> None:
    """Set the scan for this transaction: the fewer passages are readable, the wider it looks."""
    ef = min(_MAX_EF, round(100 / max(share, 0.1)))
    await session.execute(_SET, {"ef": str(ef), "scan": "on" if exact else "off"})


def _hit(row: "object") -> Hit:
    values = row._mapping  # type: ignore[attr-defined]
    return Hit(
        chunk=values["chunk"],
        document=values["document_id"],
        section=values["section"],
        position=values["position"],
        heading=values["heading"],
        place=values["place"],
        text=values["text"],
        title=values["title"],
        source=values["source"],
        kind=values["kind"],
        label=Label(values["label"]),
        collection=values["collection"],
        score=float(values["score"]),
        similarity=float(values["similarity"]),
        whole=values["whole"],
    )
