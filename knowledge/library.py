"""Puts documents on the shelf: known ones are left alone, changed ones change in part."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
import numpy.typing as npt
from pgvector import HalfVector
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from knowledge.chunk import Chunk, chunk
from knowledge.document import Loaded
from knowledge.models import DIMENSION, ChunkRow, Collection, Document
from nebula.errors import Conflict
from nebula.policy.labels import Label

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from nebula.db.engine import Database
    from nebula.llm.embedding import Embedder

Progress = Callable[[float], Awaitable[None]]
_BATCH = 16
"""Passages embedded at once: few, because a question that comes meanwhile waits for them."""
_ATTEMPTS = 3


class Visibility(StrEnum):
    """Who besides its owner finds a document."""

    PRIVATE = "private"
    ROLE = "role"
    EVERYONE = "everyone"


@dataclass(frozen=True)
class Shelf:
    """Where a document goes, whose it is, and who may find it."""

    collection: str
    owner: str
    owner_name: str
    role: str
    visibility: Visibility | None = None
    """None keeps what a known document has, and makes a new one private."""
    label: Label = Label.OUTSIDE


class Fate(StrEnum):
    """What adding a document came to."""

    ADDED = "added"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    DUPLICATE = "duplicate"


@dataclass(frozen=True)
class Added:
    """One document's outcome; `same_as` is the source that holds the same content already."""

    document: UUID
    fate: Fate
    chunks: int
    embedded: int
    same_as: str = ""


@dataclass(frozen=True)
class _Known:
    """What the shelf holds of a source before it is added."""

    collection: int
    document: UUID | None = None
    content_hash: str = ""
    chunk_hashes: frozenset[str] = frozenset()
    twin: tuple[UUID, str] | None = None


class Library:
    """Adds documents; each in one transaction, so that nothing is ever half there."""

    def __init__(self, db: "Database", embedder: "Embedder") -> None:
        """Take the database and the model that makes vectors."""
        self._db = db
        self._embedder = embedder

    async def add(
        self, document: Loaded, shelf: Shelf, *, added_from: str, progress: Progress | None = None
    ) -> Added:
        """Add or update one document; only passages that changed are embedded and written.

        Raises:
            Conflict: when the collection belongs to another embedding model, or others keep
                changing this very document.
        """
        chunks = _distinct(chunk(document.sections))
        for _ in range(_ATTEMPTS):
            known = await self._known(document, shelf)
            done = await self._settled(document, shelf, known, added_from)
            if done is not None:
                return done
            fresh = _fresh(chunks, known)
            vectors = await self._embed(document.title, list(fresh.values()), progress)
            made = await self._write(
                _Writing(
                    document, shelf, added_from, chunks, dict(zip(fresh, vectors, strict=True))
                ),
                known,
            )
            if made is not None:
                fate = Fate.UPDATED if known.document else Fate.ADDED
                return Added(made, fate, len(chunks), len(fresh))
        raise Conflict(f"{document.source} is being added by someone else", hint="Try again later.")

    async def drop_missing(self, shelf: Shelf, added_from: str, seen: Sequence[str]) -> int:
        """Remove documents that came with a folder or repository and are no longer in it."""
        async with self._db.session() as session:
            gone = await session.scalars(
                delete(Document)
                .where(
                    Document.owner == shelf.owner,
                    Document.added_from == added_from,
                    Document.source.not_in(list(seen)),
                    Document.collection_id == _collection_id(shelf.collection),
                )
                .returning(Document.id)
            )
            return len(gone.all())

    async def _known(self, document: Loaded, shelf: Shelf) -> _Known:
        async with self._db.session() as session:
            collection = await _collection(session, shelf.collection, self._embedder)
            mine = (Document.collection_id == collection, Document.owner == shelf.owner)
            found = (
                await session.execute(
                    select(Document.id, Document.content_hash).where(
                        *mine, Document.source == document.source
                    )
                )
            ).one_or_none()
            if found is None:
                same = Document.content_hash == document.content_hash
                twin = await session.execute(
                    select(Document.id, Document.source).where(*mine, same).limit(1)
                )
                pair = twin.one_or_none()
                return _Known(collection, twin=(pair[0], pair[1]) if pair else None)
            hashes = await session.scalars(
                select(ChunkRow.hash).where(ChunkRow.document_id == found.id)
            )
            return _Known(collection, found.id, found.content_hash, frozenset(hashes))

    async def _settled(
        self, document: Loaded, shelf: Shelf, known: _Known, added_from: str
    ) -> Added | None:
        """Return the outcome when there is nothing to embed; visibility may change all the same."""
        if known.twin is not None:
            return Added(known.twin[0], Fate.DUPLICATE, 0, 0, same_as=known.twin[1])
        if known.document is None or known.content_hash != document.content_hash:
            return None
        async with self._db.session() as session:
            changed = await session.execute(
                update(Document)
                .where(Document.id == known.document)
                .values(added_from=added_from, **_seen_by(shelf))
                .returning(Document.chunks)
            )
            count = changed.scalar_one_or_none()
        return None if count is None else Added(known.document, Fate.UNCHANGED, count, 0)

    async def _embed(
        self, title: str, chunks: list[Chunk], progress: Progress | None
    ) -> list[npt.NDArray[np.float32]]:
        vectors: list[npt.NDArray[np.float32]] = []
        for start in range(0, len(chunks), _BATCH):
            batch = [piece.to_embed(title) for piece in chunks[start : start + _BATCH]]
            vectors.extend(await self._embedder.embed(batch))
            if progress is not None:
                await progress(len(vectors) / len(chunks))
        return vectors

    async def _write(self, writing: "_Writing", known: _Known) -> UUID | None:
        """Write the document in one transaction; None when it changed since we looked."""
        async with self._db.session() as session:
            await session.execute(
                text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"),
                {
                    "key": f"knowledge:{known.collection}:{writing.shelf.owner}:{writing.document.source}"
                },
            )
            now = await session.execute(
                select(Document.id, Document.content_hash).where(
                    Document.collection_id == known.collection,
                    Document.owner == writing.shelf.owner,
                    Document.source == writing.document.source,
                )
            )
            row = now.one_or_none()
            seen = (known.document, known.content_hash) if known.document else None
            if (tuple(row) if row else None) != seen:
                return None
            identifier = await _save_document(session, writing, known)
            await _save_chunks(session, identifier, writing)
            return identifier


@dataclass(frozen=True)
class _Writing:
    """A document ready to be written, with the vectors of its new passages by their hash."""

    document: Loaded
    shelf: Shelf
    added_from: str
    chunks: list[Chunk]
    vectors: dict[str, npt.NDArray[np.float32]]


def _distinct(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Keep the first of passages that repeat word for word (headers, licence notes)."""
    return list({piece.hash: piece for piece in reversed(chunks)}.values())[::-1]


def _fresh(chunks: Sequence[Chunk], known: _Known) -> dict[str, Chunk]:
    return {piece.hash: piece for piece in chunks if piece.hash not in known.chunk_hashes}


def _collection_id(name: str) -> "object":
    return select(Collection.id).where(Collection.name == name).scalar_subquery()


async def _collection(session: "AsyncSession", name: str, embedder: "Embedder") -> int:
    """Return the collection's id; make it when it is new.

    Raises:
        Conflict: when its vectors come from another model.
    """
    find = select(Collection.id, Collection.model).where(Collection.name == name)
    row = (await session.execute(find)).one_or_none()
    if row is None:
        await session.execute(
            upsert(Collection)
            .values(name=name, model=embedder.name, dimension=DIMENSION)
            .on_conflict_do_nothing()
        )
        row = (await session.execute(find)).one()
    if row.model != embedder.name:
        raise Conflict(
            f"The collection {name!r} was embedded with {row.model}, not with {embedder.name}",
            hint="Choose another collection, or forget this one's documents and add them again.",
        )
    return int(row.id)


async def _save_document(session: "AsyncSession", writing: _Writing, known: _Known) -> UUID:
    document, shelf = writing.document, writing.shelf
    values = {
        "added_from": writing.added_from,
        "kind": document.kind,
        "title": document.title,
        "owner_name": shelf.owner_name,
        **_seen_by(shelf),
        "label": shelf.label,
        "content_hash": document.content_hash,
        "size_bytes": document.size_bytes,
        "chunks": len(writing.chunks),
    }
    if known.document is not None:
        await session.execute(
            update(Document)
            .where(Document.id == known.document)
            .values(**values, updated_at=func.now())
        )
        return known.document
    key = {"collection_id": known.collection, "owner": shelf.owner, "source": document.source}
    values = {
        **_seen_by(replace(shelf, visibility=shelf.visibility or Visibility.PRIVATE)),
        **values,
    }
    made = await session.execute(insert(Document).values(**key, **values).returning(Document.id))
    return made.scalar_one()


def _seen_by(shelf: Shelf) -> dict[str, str]:
    if shelf.visibility is None:
        return {}
    return {"visibility": shelf.visibility.value, "role": shelf.role}


async def _save_chunks(session: "AsyncSession", document: UUID, writing: _Writing) -> None:
    """Keep rows of passages that are still there, move them, drop the rest, insert the new."""
    rows = await session.execute(
        select(ChunkRow.hash, ChunkRow.id).where(ChunkRow.document_id == document)
    )
    present = {row.hash: row.id for row in rows}
    moved: list[dict[str, object]] = []
    new: list[dict[str, object]] = []
    for position, piece in enumerate(writing.chunks):
        place = {"position": position, "section": piece.section, "place": piece.place}
        if piece.hash in present:
            moved.append({"id": present.pop(piece.hash), **place})
            continue
        content = {"heading": piece.heading, "text": piece.text, "hash": piece.hash}
        vector = HalfVector(writing.vectors[piece.hash])
        new.append({"document_id": document, "embedding": vector, **content, **place})
    if present:
        await session.execute(delete(ChunkRow).where(ChunkRow.id.in_(present.values())))
    if moved:
        await session.execute(update(ChunkRow), moved)
    if new:
        await session.execute(insert(ChunkRow), new)
