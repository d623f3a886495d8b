"""Tables of the agents: who they are, and their runs."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
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

_MOMENT = DateTime(timezone=True)


class AgentRow(Base):
    """An agent; its row is locked while it is decided whether a run may be."""

    __tablename__ = "agents"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    owner_id: Mapped[str] = mapped_column(Text)
    owner_name: Mapped[str] = mapped_column(Text)
    purpose: Mapped[str] = mapped_column(Text)
    features: Mapped[list[str]] = mapped_column(JSONB)
    tools: Mapped[list[str]] = mapped_column(JSONB)
    tier: Mapped[str] = mapped_column(Text)
    limits: Mapped[dict[str, Any]] = mapped_column(JSONB)
    overlap: Mapped[str] = mapped_column(Text)
    report_to: Mapped[str | None] = mapped_column(Text)
    report_when: Mapped[str] = mapped_column(Text)
    trigger: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    heard: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """Up to which event of the trigger's stream it has looked."""
    schedule_id: Mapped[str | None] = mapped_column(Text)
    rights: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """What the owner could do when it was made, cut down to its features."""
    labels: Mapped[list[str]] = mapped_column(JSONB)
    """Where its purpose came from."""
    enabled: Mapped[bool] = mapped_column(Boolean, server_default="true")
    stopped_because: Mapped[str] = mapped_column(Text, server_default="")
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    """How many runs in a row have failed."""
    not_before: Mapped[datetime | None] = mapped_column(_MOMENT)
    """While it backs off, nothing starts it by itself."""
    created_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.clock_timestamp())

    __table_args__ = (
        CheckConstraint("overlap in ('skip', 'queue')", name="overlap"),
        CheckConstraint("report_when in ('always', 'news', 'problems')", name="report_when"),
        Index("uq_agents_owner_name", "owner_id", "name", unique=True),
    )


class AgentRunRow(Base):
    """One run; `cause` makes what started it start it once."""

    __tablename__ = "agent_runs"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    agent_id: Mapped[str] = mapped_column(ForeignKey("agents.id", ondelete="CASCADE"))
    owner_id: Mapped[str] = mapped_column(Text)
    cause: Mapped[str] = mapped_column(Text)
    started_by: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    dry_run: Mapped[bool] = mapped_column(Boolean)
    task: Mapped[str] = mapped_column(Text, server_default="")
    event: Mapped[str] = mapped_column(Text, server_default="")
    labels: Mapped[list[str]] = mapped_column(JSONB)
    session_id: Mapped[str | None] = mapped_column(Text)
    turn_id: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.clock_timestamp())
    started_at: Mapped[datetime | None] = mapped_column(_MOMENT)
    ended_at: Mapped[datetime | None] = mapped_column(_MOMENT)
    seconds: Mapped[float] = mapped_column(Float, server_default="0")
    """How long it worked; waiting for a person does not count."""
    model_calls: Mapped[int] = mapped_column(Integer, server_default="0")
    tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    did: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")
    """The effects it had, or wanted to have in a dry run."""
    report: Mapped[str] = mapped_column(Text, server_default="")
    problem: Mapped[str] = mapped_column(Text, server_default="")
    to_tell: Mapped[bool] = mapped_column(Boolean, server_default="false")
    told: Mapped[str] = mapped_column(Text, server_default="")
    """What became of the report to the channel."""

    __table_args__ = (
        CheckConstraint(
            "state in ('queued', 'running', 'waiting', 'done', 'failed', 'stopped',"
            " 'cancelled', 'skipped')",
            name="state",
        ),
        Index("uq_agent_runs_cause", "agent_id", "cause", unique=True),
        Index("ix_agent_runs_agent_created", "agent_id", "created_at"),
        Index(
            "uq_agent_runs_running",
            "agent_id",
            unique=True,
            postgresql_where="state in ('running', 'waiting')",
        ),
        Index(
            "ix_agent_runs_open",
            "created_at",
            postgresql_where="state in ('queued', 'running', 'waiting') or to_tell",
        ),
    )
