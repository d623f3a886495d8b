"""Tables of conversations: sessions, the turns in them, and a readable transcript."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Text,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from nebula.db.base import Base

_MOMENT = DateTime(timezone=True)


class ConversationRow(Base):
    """One session: a thread of messages between a person and Jarvis."""

    __tablename__ = "sessions"
    __table_args__ = (
        Index("ix_sessions_owner_last_active_at", "owner", "last_active_at"),
        Index(
            "ix_sessions_open_last_active_at",
            "last_active_at",
            postgresql_where=text("state = 'open'"),
        ),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    owner: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text, server_default="")
    state: Mapped[str] = mapped_column(Text, server_default="open")
    surface: Mapped[str] = mapped_column(Text)
    summary: Mapped[str] = mapped_column(Text, server_default="")
    created_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())
    last_active_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())


class TurnRow(Base):
    """One request in a session, from its message to its end; at most one runs at a time."""

    __tablename__ = "session_turns"
    __table_args__ = (
        Index("ix_session_turns_session_id_position", "session_id", "position"),
        Index(
            "uq_session_turns_running",
            "session_id",
            unique=True,
            postgresql_where=text("state = 'running'"),
        ),
        Index("ix_session_turns_waiting", "session_id", postgresql_where=text("state = 'waiting'")),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    state: Mapped[str] = mapped_column(Text)
    caller: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """Who asked and from where; rights are read anew from the user's rows."""
    waits_for: Mapped[list[str]] = mapped_column(JSONB, server_default="[]")
    """The approvals a waiting turn needs."""
    cancelled: Mapped[bool] = mapped_column(server_default=false())
    alive_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())
    started_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())
    ended_at: Mapped[datetime | None] = mapped_column(_MOMENT)


class MessageRow(Base):
    """What a person or Jarvis said, as doors show it."""

    __tablename__ = "session_messages"
    __table_args__ = (Index("ix_session_messages_session_id_position", "session_id", "position"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    turn_id: Mapped[str] = mapped_column(Text)
    position: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    role: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    blocks: Mapped[list[Any]] = mapped_column(JSONB, server_default="[]")
    tool_calls: Mapped[list[Any]] = mapped_column(JSONB, server_default="[]")
    labels: Mapped[list[str]] = mapped_column(JSONB, server_default="[]")
    plan: Mapped[list[Any]] = mapped_column(JSONB, server_default="[]")
    status: Mapped[str] = mapped_column(Text, server_default="done")
    created_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.now())
