"""Tables of the schedules."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from nebula.db.base import Base


class ScheduleRow(Base):
    """What runs by itself; its row lock makes each tick fire once."""

    __tablename__ = "schedules"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    tool: Mapped[str] = mapped_column(Text)
    arguments: Mapped[dict[str, Any]] = mapped_column(JSONB)
    timing: Mapped[dict[str, Any]] = mapped_column(JSONB)
    missed: Mapped[str] = mapped_column(Text)
    grace_seconds: Mapped[float] = mapped_column(Float)
    catch_up: Mapped[int] = mapped_column(Integer)
    jitter_seconds: Mapped[float] = mapped_column(Float)
    priority: Mapped[int] = mapped_column(Integer)
    enabled: Mapped[bool] = mapped_column(Boolean)
    stopped_because: Mapped[str] = mapped_column(Text, server_default="")
    owner_id: Mapped[str] = mapped_column(Text)
    owner_name: Mapped[str] = mapped_column(Text)
    rights: Mapped[dict[str, Any]] = mapped_column(JSONB)
    session_id: Mapped[str | None] = mapped_column(Text)
    labels: Mapped[list[str]] = mapped_column(JSONB, server_default='["user"]')
    """What whoever made it, or changed its arguments, had read."""
    next_due_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    next_fire_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_fired_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp()
    )

    __table_args__ = (
        CheckConstraint("missed in ('skip', 'once', 'all')", name="missed"),
        CheckConstraint("not enabled or next_fire_at is not null", name="enabled_has_next"),
        Index("ix_schedules_next", "next_fire_at", postgresql_where="enabled"),
        Index("ix_schedules_owner", "owner_id"),
    )


class TickRow(Base):
    """One due moment; the primary key makes it fire at most once."""

    __tablename__ = "schedule_ticks"

    schedule_id: Mapped[str] = mapped_column(
        ForeignKey("schedules.id", ondelete="CASCADE"), primary_key=True
    )
    due_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    state: Mapped[str] = mapped_column(Text)
    job_id: Mapped[str | None] = mapped_column(Text)
    approval_id: Mapped[str | None] = mapped_column(Text)
    problem: Mapped[str] = mapped_column(Text, server_default="")
    at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp()
    )

    __table_args__ = (
        CheckConstraint("state in ('fired', 'proposed', 'refused', 'skipped')", name="state"),
        Index("ix_schedule_ticks_proposed", "at", postgresql_where="state = 'proposed'"),
        Index("ix_schedule_ticks_at", "at", postgresql_using="brin"),
    )
