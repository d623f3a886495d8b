"""P7: recall@10 and median time of knowledge search over 50,000 passages of 384 dimensions.

Run: python -m benchmarks.p7

Ours is `knowledge.search.Search` as the product runs it: rights checked in SQL, vectors fused with
full text; how much may be read is remembered for a second. Peers answer the vector part alone with the same
rights check: pgvector's HNSW with its defaults, and an exact scan. The vectors are synthetic:
a 32-dimensional latent space in 200 topics, turned into 384 dimensions with noise, which gives
neighbourhoods about as hard as sentence embeddings have; words follow Zipf's law per topic.
"""

import asyncio
import functools
import logging
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import structlog
from pgvector import HalfVector
from sqlalchemy import text

from benchmarks.table import show
from knowledge import search as product
from knowledge.queries import BY_SCAN
from knowledge.search import Search
from nebula.auth.principal import Principal, Role
from nebula.db.embedded import EmbeddedPostgres
from nebula.db.engine import Database
from nebula.db.migrate import upgrade
from nebula.llm.embedding import Embedder

PASSAGES = 50_000
DOCUMENTS = 500
QUERIES = 200
TOPICS = 200
OWN = DOCUMENTS // 100
"""Documents that the reader with few rights may read: one per cent."""

Array = npt.NDArray[np.float32]

EVERYTHING = Principal("boss", "boss", Role.ADMIN, frozenset({"*:*"}))
ONE_PERCENT = Principal("ann", "ann", Role.VIEWER, frozenset({"*:read"}))

_PEER = """
SELECT c.text FROM knowledge_chunks c JOIN knowledge_documents d ON d.id = c.document_id
WHERE d.owner = :me OR d.visibility = 'everyone'
   OR (d.visibility = 'role' AND (d.role = :role OR :sees_roles))
ORDER BY (c.embedding <=> CAST(:vector AS halfvec(384))) {plus} LIMIT 10
"""
_PEER_INDEX = text(_PEER.format(plus=""))
_PEER_SCAN = text(_PEER.format(plus="+ 0"))


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    recall: float
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True)
class Corpus:
    """Passages, and questions that resemble some of them."""

    vectors: Array
    texts: list[str]
    questions: Array
    words: list[str]

    def nearest(self, question: Array, readable: npt.NDArray[np.bool_]) -> set[str]:
        """Return the ten truly nearest readable passages."""
        distance = np.where(readable, -(self.vectors @ question), np.inf)
        return {f"p{n}" for n in np.argpartition(distance, 10)[:10]}


def make_corpus(seed: int = 7) -> Corpus:
    """Make the same corpus every time."""
    rng = np.random.default_rng(seed)
    project = rng.normal(size=(32, 384)) / np.sqrt(32)
    topic = rng.integers(0, TOPICS, PASSAGES)
    latent = rng.normal(size=(TOPICS, 32))[topic] + rng.normal(size=(PASSAGES, 32)) * 0.5
    vectors = _unit(latent @ project + rng.normal(size=(PASSAGES, 384)) * 0.4)
    texts = [_words(rng, int(t), n) for n, t in enumerate(topic)]
    asked = rng.choice(PASSAGES, QUERIES, replace=False)
    questions = _unit(vectors[asked] + rng.normal(size=(QUERIES, 384)) * 0.02)
    words = [_question(rng, texts[n].split()) for n in asked]
    return Corpus(vectors, texts, questions, words)


def _unit(values: npt.NDArray[np.float64]) -> Array:
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    unit: Array = (values / lengths).astype(np.float32)
    return unit


def _words(rng: np.random.Generator, topic: int, number: int) -> str:
    """Write 40 words of a vocabulary of 20,000 and 20 of the topic's own 200, after Zipf."""
    common = np.searchsorted(_zipf(20_000), rng.random(40))
    own = np.searchsorted(_zipf(200), rng.random(20))
    words = [f"w{n}" for n in common] + [f"t{topic}x{n}" for n in own]
    return f"p{number} " + " ".join(words)


@functools.cache
def _zipf(words: int) -> npt.NDArray[np.float64]:
    """Return Zipf-Mandelbrot's distribution function; the most common word has 1 in 80."""
    weights = 1 / (np.arange(words) + 10)
    return np.cumsum(weights / weights.sum())


def _question(rng: np.random.Generator, passage: list[str]) -> str:
    """Take two words that many passages have, and two of the passage's topic."""
    return " ".join([*rng.choice(passage[1:41], 2), *rng.choice(passage[41:], 2)])


async def fill(database: Database, corpus: Corpus, model: str) -> None:
    """Load the corpus as the product stores it: documents of a hundred passages each."""
    async with database.session() as session:
        await session.execute(text("SET LOCAL statement_timeout = 0"))
        await session.execute(text("SET LOCAL maintenance_work_mem = '512MB'"))
        await session.execute(text("DROP INDEX ix_knowledge_chunks_embedding"))
        await session.execute(
            text(
                "INSERT INTO knowledge_collections (name, model, dimension) VALUES ('b', :m, 384)"
            ),
            {"m": model},
        )
        await session.execute(
            text(
                """
                INSERT INTO knowledge_documents (collection_id, source, added_from, kind, title,
                    owner, owner_name, visibility, role, label, content_hash, size_bytes, chunks)
                SELECT 1, n::text, '', 'text', 'd', CASE WHEN n < :own THEN 'ann' ELSE 'bob' END,
                    '', 'role', 'developer', 'outside', n::text, 1, :each
                FROM generate_series(0, :documents - 1) n
                """
            ),
            {"own": OWN, "documents": DOCUMENTS, "each": PASSAGES // DOCUMENTS},
        )
        await _copy(session, corpus)
        await session.execute(
            text(
                "CREATE INDEX ix_knowledge_chunks_embedding ON knowledge_chunks"
                " USING hnsw (embedding halfvec_cosine_ops) WITH (m = 16, ef_construction = 128)"
            )
        )
    async with database.engine.connect() as connection:
        bare = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await bare.execute(text("VACUUM ANALYZE knowledge_chunks"))
        await bare.execute(text("VACUUM ANALYZE knowledge_documents"))


async def _copy(session: "object", corpus: Corpus) -> None:
    connection = await session.connection()  # type: ignore[attr-defined]
    ids = (await connection.execute(text("SELECT source, id FROM knowledge_documents"))).all()
    document = {int(source): str(identifier) for source, identifier in ids}
    raw = (await connection.get_raw_connection()).driver_connection
    statement = (
        "COPY knowledge_chunks (document_id, position, section, heading, place, text, hash,"
        " embedding) FROM STDIN"
    )
    async with raw.cursor().copy(statement) as copy:
        for n, (vector, words) in enumerate(zip(corpus.vectors, corpus.texts, strict=True)):
            shown = HalfVector(vector).to_text()
            await copy.write_row((document[n % DOCUMENTS], n, n, "", "", words, str(n), shown))


Ask = Callable[[int], Awaitable[list[str]]]


async def measure(what: str, ask: Ask, truths: list[set[str]]) -> Row:
    """Ask every question, one after the other, and compare with what is true."""
    for n in range(10):
        await ask(n)
    recalls, times = [], []
    for n, truth in enumerate(truths):
        started = time.perf_counter()
        found = await ask(n)
        times.append((time.perf_counter() - started) * 1000)
        recalls.append(len(truth & {line.split()[0] for line in found}) / len(truth))
    p50, p95 = np.percentile(times, [50, 95])
    return Row(what, float(np.mean(recalls)), float(p50), float(p95))


async def run() -> list[Row]:
    """Fill a fresh embedded database and measure ours and the peers on it."""
    corpus = make_corpus()
    with tempfile.TemporaryDirectory(prefix="p7-") as folder:
        server = EmbeddedPostgres(Path(folder), {"shared_buffers": "512MB"})
        url = await asyncio.to_thread(server.start)
        try:
            await asyncio.to_thread(upgrade, url)
            async with Database(url) as database:
                embedder = Embedder()
                await fill(database, corpus, embedder.name)
                return await _compare(database, Search(database, embedder), corpus)
        finally:
            await asyncio.to_thread(server.stop)


async def _compare(database: Database, search: Search, corpus: Corpus) -> list[Row]:
    rows: list[Row] = []
    own = np.arange(PASSAGES) % DOCUMENTS < OWN
    for who, readable, name in (
        (EVERYTHING, np.ones(PASSAGES, bool), "all readable"),
        (ONE_PERCENT, own, "1 % readable"),
    ):
        truths = [corpus.nearest(question, readable) for question in corpus.questions]
        hybrid, near = (
            _ours(search, corpus, who, words=True),
            _ours(search, corpus, who, words=False),
        )
        rows.append(await measure(f"{name}: ours, vectors", near, truths))
        exact = [
            await _exact_hybrid(database, corpus, who, n, Embedder.name) for n in range(QUERIES)
        ]
        rows.append(await measure(f"{name}: ours, hybrid", hybrid, exact))
        for peer, statement in (("HNSW as it comes", _PEER_INDEX), ("exact scan", _PEER_SCAN)):
            ask = _peer(database, corpus, who, statement)
            rows.append(await measure(f"{name}: {peer}, vectors", ask, truths))
    return rows


def _ours(search: Search, corpus: Corpus, who: Principal, *, words: bool) -> Ask:
    async def ask(n: int) -> list[str]:
        query = corpus.words[n] if words else "thisword isnowhere"
        found = await search.find_near(query, corpus.questions[n], who, limit=10)
        return [hit.text for hit in found.hits]

    return ask


async def _exact_hybrid(
    database: Database, corpus: Corpus, who: Principal, n: int, model: str
) -> set[str]:
    """Answer as ours does for the same words, but with every passage measured."""
    reader = {**product._values(who, product.Filters()), "model": model}
    async with database.bare(writes=False) as bare:
        way = await Search(database, Embedder()).way(bare, corpus.words[n], reader)
    asked = {
        "query": corpus.words[n],
        "rare": way.rare,
        "vector": product._written(corpus.questions[n]),
        "limit": 10,
    }
    async with database.session() as session:
        rows = await session.execute(BY_SCAN, {**reader, **asked})
        return {row.text.split()[0] for row in rows}


def _peer(database: Database, corpus: Corpus, who: Principal, statement: object) -> Ask:
    async def ask(n: int) -> list[str]:
        values = {
            "me": who.id,
            "role": who.role.value,
            "sees_roles": who.role is Role.ADMIN,
            "vector": HalfVector(corpus.questions[n]).to_text(),
        }
        async with database.session() as session:
            return list(await session.scalars(statement, values))  # type: ignore[call-overload]

    return ask


def main() -> None:
    """Print the table."""
    level = structlog.make_filtering_bound_logger(logging.ERROR)
    structlog.configure(wrapper_class=level)
    started = time.perf_counter()
    rows = asyncio.run(run())
    peer = {row.what.partition(":")[0]: row.p50_ms for row in rows if "HNSW" in row.what}
    cells = [
        [
            row.what,
            f"{row.recall:.3f}",
            f"{row.p50_ms:.2f}",
            f"{row.p95_ms:.2f}",
            f"{row.p50_ms / peer[row.what.partition(':')[0]]:.1f}",
        ]
        for row in rows
    ]
    print(show(["who may read", "recall@10", "p50 ms", "p95 ms", "÷ plain HNSW"], cells))
    print("goal: recall >= .99 with all readable, >= .98 with 1 %, p50 <= 3 ms")
    print(
        f"{PASSAGES:,} passages, {QUERIES} questions, {time.perf_counter() - started:.0f} s in all"
    )


if __name__ == "__main__":
    main()
