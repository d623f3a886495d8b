"""The table of remembered facts."""

import uuid
from datetime import datetime

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import Computed, DateTime, Index, Text, UniqueConstraint, Uuid, func, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from nebula.db.base import Base

DIMENSION = 384


class MemoryRow(Base):
    """One fact about one person."""

    __tablename__ = "recall_memories"
    __table_args__ = (
        UniqueConstraint("owner", "hash"),
        Index("ix_recall_memories_owner_created_at", "owner", "created_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(
        Uuid, primary_key=True, server_default=text("gen_random_uuid()")
    )
    owner: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(Text)
    """SHA-256 of the text in lower case with single spaces: one fact is kept once."""
    label: Mapped[str] = mapped_column(Text)
    """Where the text came from; a fact out of a web page stays an outside text for ever."""
    model: Mapped[str] = mapped_column(Text)
    words: Mapped[str] = mapped_column(
        TSVECTOR, Computed("to_tsvector('english'::regconfig, text)", persisted=True)
    )
    embedding: Mapped[list[float]] = mapped_column(HALFVEC(DIMENSION))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
