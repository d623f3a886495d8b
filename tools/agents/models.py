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
    changed_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.clock_timestamp())
    """When a person changed it or switched it last: what was the matter before is seen to."""

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
    code: Mapped[str] = mapped_column(Text, server_default="")
    """Why it did not do what it should, where the owner can do something about it."""
    to_tell: Mapped[bool] = mapped_column(Boolean, server_default="false")
    told: Mapped[str] = mapped_column(Text, server_default="")
    """What became of the report to the channel."""
    handed: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")
    """Reports of other agents that it begins with."""
    within: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """What whoever asked for it could do then; it does no more than that."""
    stop_asked: Mapped[bool] = mapped_column(Boolean, server_default="false")
    """Somebody wants it to end; the process that runs it looks."""

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


class BoardRow(Base):
    """A task given to several agents; its row is locked while it moves on."""

    __tablename__ = "agent_boards"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    owner_id: Mapped[str] = mapped_column(Text)
    owner_name: Mapped[str] = mapped_column(Text)
    cause: Mapped[str] = mapped_column(Text)
    """The call that asked for it: it gets one board, however often it is tried."""
    job_id: Mapped[str | None] = mapped_column(Text)
    """The job that follows it; when that has ended without it, nobody wants it any more."""
    task: Mapped[str] = mapped_column(Text)
    mode: Mapped[str] = mapped_column(Text)
    at_least: Mapped[int] = mapped_column(Integer)
    wait: Mapped[bool] = mapped_column(Boolean)
    labels: Mapped[list[str]] = mapped_column(JSONB)
    within: Mapped[dict[str, Any]] = mapped_column(JSONB)
    state: Mapped[str] = mapped_column(Text, server_default="open")
    outcome: Mapped[str] = mapped_column(Text, server_default="")
    created_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.clock_timestamp())
    deadline: Mapped[datetime] = mapped_column(_MOMENT)
    ended_at: Mapped[datetime | None] = mapped_column(_MOMENT)

    __table_args__ = (
        CheckConstraint("mode in ('together', 'chain')", name="mode"),
        CheckConstraint("state in ('open', 'done', 'failed', 'cancelled')", name="state"),
        Index("uq_agent_boards_cause", "owner_id", "cause", unique=True),
        Index("ix_agent_boards_owner", "owner_id", "created_at"),
        Index("ix_agent_boards_open", "created_at", postgresql_where="state = 'open'"),
    )


class BoardMemberRow(Base):
    """One agent's part of a board, and what it reported; kept when its run is forgotten."""

    __tablename__ = "agent_board_members"

    board_id: Mapped[str] = mapped_column(
        ForeignKey("agent_boards.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    """Their order; the agent that joins the reports comes last."""
    joins: Mapped[bool] = mapped_column(Boolean)
    agent_id: Mapped[str] = mapped_column(Text)
    agent: Mapped[str] = mapped_column(Text)
    run_id: Mapped[str | None] = mapped_column(Text)
    session_id: Mapped[str | None] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, server_default="")
    """Empty until its turn comes; then its run's."""
    report: Mapped[str] = mapped_column(Text, server_default="")
    labels: Mapped[list[str]] = mapped_column(JSONB, server_default="[]")
    """Where its report comes from."""
    problem: Mapped[str] = mapped_column(Text, server_default="")
    seconds: Mapped[float] = mapped_column(Float, server_default="0")
    tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
