"""Tables of what was taken in: collections hold documents, documents hold chunks."""

import uuid
from datetime import datetime

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from nebula.db.base import Base

DIMENSION = 384
"""Length of an embedding; the column's type fixes it, a collection records it."""

WORDS = (
    "setweight(to_tsvector('english'::regconfig, heading), 'A') || "
    "to_tsvector('english'::regconfig, text)"
)


class Collection(Base):
    """A named shelf; everything in it was embedded by one model."""

    __tablename__ = "knowledge_collections"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    model: Mapped[str] = mapped_column(Text)
    dimension: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Document(Base):
    """One file, page or manual page, as one person added it."""

    __tablename__ = "knowledge_documents"
    __table_args__ = (
        UniqueConstraint("collection_id", "owner", "source"),
        CheckConstraint("visibility IN ('private', 'role', 'everyone')", name="visibility"),
        Index("ix_knowledge_documents_owner_added_from", "owner", "added_from"),
    )

    id: Mapped[uuid.UUID] = mapped_column(
        Uuid, primary_key=True, server_default=text("gen_random_uuid()")
    )
    collection_id: Mapped[int] = mapped_column(
        ForeignKey("knowledge_collections.id", ondelete="CASCADE")
    )
    source: Mapped[str] = mapped_column(Text)
    added_from: Mapped[str] = mapped_column(Text)
    """What the person named: the source itself, or the folder or repository it came with."""
    kind: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    owner: Mapped[str] = mapped_column(Text)
    owner_name: Mapped[str] = mapped_column(Text)
    visibility: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    """The owner's role when it was added: who else sees it when visibility is `role`."""
    label: Mapped[str] = mapped_column(Text)
    content_hash: Mapped[str] = mapped_column(Text)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    chunks: Mapped[int] = mapped_column(Integer)
    added_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class ChunkRow(Base):
    """A passage with its place, its words and its vector."""

    __tablename__ = "knowledge_chunks"
    __table_args__ = (
        Index("ix_knowledge_chunks_words", "words", postgresql_using="gin"),
        Index(
            "ix_knowledge_chunks_embedding",
            "embedding",
            postgresql_using="hnsw",
            postgresql_with={"m": 16, "ef_construction": 128},
            postgresql_ops={"embedding": "halfvec_cosine_ops"},
        ),
        Index("ix_knowledge_chunks_document_id_position", "document_id", "position"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    document_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("knowledge_documents.id", ondelete="CASCADE")
    )
    position: Mapped[int] = mapped_column(Integer)
    section: Mapped[int] = mapped_column(Integer)
    heading: Mapped[str] = mapped_column(Text)
    place: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(Text)
    words: Mapped[str] = mapped_column(TSVECTOR, Computed(WORDS, persisted=True))
    embedding: Mapped[list[float]] = mapped_column(HALFVEC(DIMENSION))
