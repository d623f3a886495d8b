"""The machines that joined, and the tokens that let one join."""

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, ForeignKey, LargeBinary, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from nebula.db.base import Base

MOMENT = DateTime(timezone=True)


class NodeRow(Base):
    """A machine. Its secret is kept hashed, the key that we show it sealed."""

    __tablename__ = "nodes"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    secret_hash: Mapped[str] = mapped_column(Text, unique=True)
    key_sealed: Mapped[bytes] = mapped_column(LargeBinary)
    hardware: Mapped[dict[str, Any]] = mapped_column(JSONB)
    found: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")
    beat: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """The last heartbeat: metrics, tasks, services, commands, recipes."""
    joined_at: Mapped[datetime] = mapped_column(MOMENT, server_default=func.now())
    heartbeat_at: Mapped[datetime | None] = mapped_column(MOMENT)


class JoinTokenRow(Base):
    """A token that lets one machine join, once and for a while."""

    __tablename__ = "node_join_tokens"

    token_hash: Mapped[str] = mapped_column(Text, primary_key=True)
    made_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(MOMENT, server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(MOMENT)
    used_at: Mapped[datetime | None] = mapped_column(MOMENT)
    used_by: Mapped[str | None] = mapped_column(ForeignKey("nodes.name", ondelete="SET NULL"))
