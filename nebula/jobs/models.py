"""Tables of the jobs: the record, its log, and the workers that are alive."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from nebula.db.base import Base
from nebula.jobs.job import JobState

_TIME = DateTime(timezone=True)
_STATES = ", ".join(f"'{state.value}'" for state in JobState)


class JobRow(Base):
    """One job; `attempts` is the fencing token of its run."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    tool: Mapped[str] = mapped_column(Text)
    arguments: Mapped[dict[str, Any]] = mapped_column(JSONB)
    state: Mapped[str] = mapped_column(Text)
    priority: Mapped[int] = mapped_column(Integer, server_default="0")
    owner_id: Mapped[str] = mapped_column(Text)
    owner_name: Mapped[str] = mapped_column(Text)
    surface: Mapped[str] = mapped_column(Text)
    session_id: Mapped[str | None] = mapped_column(Text)
    call_id: Mapped[str] = mapped_column(Text)
    asked_as: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """The rest of the caller: key, agent, labels, whether a model chose it."""
    kind: Mapped[str] = mapped_column(Text)
    """How its effect behaves when it is tried again: what recovery goes by."""
    gated: Mapped[bool] = mapped_column(Boolean, server_default="false")
    """It needs a GPU, so the gate decides when it is ready."""
    placed: Mapped[bool] = mapped_column(Boolean, server_default="false")
    """The gate has a place for it."""
    queue_id: Mapped[int | None] = mapped_column(BigInteger)
    """The row of the queue that may start it; no other one can."""
    queued_at: Mapped[datetime | None] = mapped_column(_TIME)
    """From when on its row in the queue must be there."""
    progress: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    waits_because: Mapped[str] = mapped_column(Text, server_default="")
    waits_for: Mapped[str | None] = mapped_column(Text)
    """The approval, or what else has to end, that it cannot go on without."""
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    artefacts: Mapped[list[str]] = mapped_column(JSONB, server_default="[]")
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    max_attempts: Mapped[int] = mapped_column(Integer)
    cancel_requested: Mapped[bool] = mapped_column(Boolean, server_default="false")
    cancelled_by: Mapped[str | None] = mapped_column(Text)
    worker: Mapped[str | None] = mapped_column(Text)
    log_lines: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[datetime] = mapped_column(_TIME, server_default=func.clock_timestamp())
    started_at: Mapped[datetime | None] = mapped_column(_TIME)
    finished_at: Mapped[datetime | None] = mapped_column(_TIME)
    simulated: Mapped[bool] = mapped_column(Boolean, server_default="false")

    __table_args__ = (
        CheckConstraint(f"state in ({_STATES})", name="state"),
        Index("ix_jobs_owner", "owner_id", "created_at"),
        Index("ix_jobs_open", "state", postgresql_where="state in ('queued', 'running')"),
        Index("ix_jobs_waits_for", "waits_for", postgresql_where="waits_for IS NOT NULL"),
        Index("ix_jobs_finished", "finished_at", postgresql_where="finished_at IS NOT NULL"),
    )


class JobLogRow(Base):
    """One line of a job's log."""

    __tablename__ = "job_log"

    job_id: Mapped[str] = mapped_column(
        Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    )
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[datetime] = mapped_column(_TIME, server_default=func.clock_timestamp())
    text: Mapped[str] = mapped_column(Text)


class JobWorkerRow(Base):
    """A worker process; it is alive while its heartbeat is young."""

    __tablename__ = "job_workers"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    started_at: Mapped[datetime] = mapped_column(_TIME, server_default=func.clock_timestamp())
    heartbeat_at: Mapped[datetime] = mapped_column(_TIME, server_default=func.clock_timestamp())
