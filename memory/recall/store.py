"""Saves, finds and forgets what Jarvis remembers of one person."""

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from pgvector import HalfVector
from pydantic import BaseModel, Field
from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert

from memory.recall.models import MemoryRow
from nebula.auth.principal import Principal
from nebula.errors import Conflict, NotFound
from nebula.policy.labels import Label

if TYPE_CHECKING:
    from nebula.db.engine import Database
    from nebula.llm.embedding import Embedder

MAX_MEMORIES = 2_000
"""Facts kept per person; with so few, measuring each is exact and fast."""

_MIN_SIMILARITY = 0.2
_SAME = 0.6
_CLEAR_LEAD = 0.1

# Words and meaning weigh together; a person's facts are few, so every one is measured.
_FIND = text(
    """
    SELECT id, text, label, created_at,
           1 - (embedding <=> CAST(:vector AS halfvec(384))) AS similarity,
           words @@ plainto_tsquery('english', :query)
               AND numnode(plainto_tsquery('english', :query)) > 0 AS whole
    FROM recall_memories
    WHERE owner = :owner AND model = :model
    ORDER BY whole DESC, similarity DESC
    LIMIT :limit
    """
)


class Memory(BaseModel):
    """A remembered fact."""

    id: str
    text: str
    label: Label
    created_at: datetime
    similarity: float = Field(1.0, description="How near it is to the question, up to 1")


class Recall:
    """One person's facts; nobody else's are ever read."""

    def __init__(self, db: "Database", embedder: "Embedder") -> None:
        """Take the database and the model that makes vectors."""
        self._db = db
        self._embedder = embedder

    async def save(self, who: Principal, fact: str, label: Label) -> tuple[Memory, bool]:
        """Remember a fact; return it, and whether it is new.

        Raises:
            Conflict: when the person has too many already.
        """
        fact = " ".join(fact.replace("\x00", "").split())
        vector = (await self._embedder.embed([fact]))[0]
        digest = hashlib.sha256(fact.lower().encode("utf-8", "replace")).hexdigest()
        mine = MemoryRow.owner == who.id
        async with self._db.session() as session:
            held = await session.scalar(select(func.count()).where(mine))
            if (held or 0) >= MAX_MEMORIES:
                raise Conflict(
                    f"{MAX_MEMORIES:,} things are remembered already",
                    hint="Forget some that no longer matter.",
                )
            made = await session.scalar(
                insert(MemoryRow)
                .values(
                    owner=who.id,
                    text=fact,
                    hash=digest,
                    label=label.value,
                    model=self._embedder.name,
                    embedding=HalfVector(vector),
                )
                .on_conflict_do_nothing(constraint="uq_recall_memories_owner_hash")
                .returning(MemoryRow.id)
            )
            row = (
                await session.execute(select(MemoryRow).where(mine, MemoryRow.hash == digest))
            ).scalar_one()
            return _memory(row), made is not None

    async def search(self, who: Principal, query: str, *, limit: int = 10) -> list[Memory]:
        """Return the facts that speak to a question, best first."""
        found = await self._near(who, query, limit)
        return [memory for memory, whole in found if whole or memory.similarity >= _MIN_SIMILARITY]

    async def newest(self, who: Principal, *, limit: int = 50) -> list[Memory]:
        """Return the facts that were saved last, newest first."""
        async with self._db.session() as session:
            rows = await session.scalars(
                select(MemoryRow)
                .where(MemoryRow.owner == who.id)
                .order_by(MemoryRow.created_at.desc(), MemoryRow.id)
                .limit(limit)
            )
            return [_memory(row) for row in rows]

    async def forget(self, who: Principal, named: str) -> Memory:
        """Forget the one fact that `named` means: its id, its words, or what it is about.

        Raises:
            NotFound: when nothing like it is remembered.
            Conflict: when it could mean several facts.
        """
        memory = await self._meant(who, named)
        async with self._db.session() as session:
            await session.execute(
                delete(MemoryRow).where(MemoryRow.owner == who.id, MemoryRow.id == UUID(memory.id))
            )
        return memory

    async def _meant(self, who: Principal, named: str) -> Memory:
        identifier = _uuid(named)
        if identifier is not None:
            async with self._db.session() as session:
                row = await session.scalar(
                    select(MemoryRow).where(MemoryRow.owner == who.id, MemoryRow.id == identifier)
                )
            if row is None:
                raise NotFound("There is no such memory of yours")
            return _memory(row)
        found = await self._near(who, named, 3)
        close = [(memory, whole) for memory, whole in found if whole or memory.similarity >= _SAME]
        if not close:
            raise NotFound(f"I remember nothing like {named!r}", hint="Ask what I know about you.")
        first, *others = close
        rivals = [
            memory
            for memory, whole in others
            if whole == first[1] and first[0].similarity - memory.similarity < _CLEAR_LEAD
        ]
        if rivals:
            options = "; ".join(f"{memory.text!r} ({memory.id})" for memory in [first[0], *rivals])
            raise Conflict(f"That could mean {options}", hint="Give the id of one.")
        return first[0]

    async def _near(self, who: Principal, query: str, limit: int) -> list[tuple[Memory, bool]]:
        vector = (await self._embedder.embed([query]))[0]
        async with self._db.session() as session:
            rows = await session.execute(
                _FIND,
                {
                    "vector": HalfVector(vector).to_text(),
                    "query": query.replace("\x00", ""),
                    "owner": who.id,
                    "model": self._embedder.name,
                    "limit": limit,
                },
            )
            return [
                (
                    Memory(
                        id=str(row.id),
                        text=row.text,
                        label=Label(row.label),
                        created_at=row.created_at,
                        similarity=round(float(row.similarity), 4),
                    ),
                    bool(row.whole),
                )
                for row in rows
            ]


def _memory(row: MemoryRow) -> Memory:
    return Memory(id=str(row.id), text=row.text, label=Label(row.label), created_at=row.created_at)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
