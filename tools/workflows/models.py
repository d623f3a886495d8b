"""Tables of the workflows: what they are, their runs, and the steps of each run."""

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


class WorkflowRow(Base):
    """A workflow; its row is locked while it is decided whether a run may be."""

    __tablename__ = "workflows"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    owner_id: Mapped[str] = mapped_column(Text)
    owner_name: Mapped[str] = mapped_column(Text)
    definition: Mapped[str] = mapped_column(Text)
    """The YAML as its owner wrote it."""
    version: Mapped[int] = mapped_column(Integer, server_default="1")
    rights: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """What the owner could do when it was saved, cut down to its tools."""
    labels: Mapped[list[str]] = mapped_column(JSONB)
    """Where its definition came from."""
    trigger: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    heard: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """Up to which event of the trigger's stream it has looked."""
    schedule_id: Mapped[str | None] = mapped_column(Text)
    enabled: Mapped[bool] = mapped_column(Boolean, server_default="true")
    stopped_because: Mapped[str] = mapped_column(Text, server_default="")
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    """How many runs in a row, begun by themselves, have failed."""
    created_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.clock_timestamp())
    changed_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.clock_timestamp())

    __table_args__ = (Index("uq_workflows_owner_name", "owner_id", "name", unique=True),)


class WorkflowRunRow(Base):
    """One run; `cause` makes what started it start it once."""

    __tablename__ = "workflow_runs"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    workflow_id: Mapped[str] = mapped_column(ForeignKey("workflows.id", ondelete="CASCADE"))
    owner_id: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(Integer)
    definition: Mapped[str] = mapped_column(Text)
    """The definition it began with; a change of the workflow is for later runs."""
    rights: Mapped[dict[str, Any]] = mapped_column(JSONB)
    cause: Mapped[str] = mapped_column(Text)
    started_by: Mapped[str] = mapped_column(Text)
    by_itself: Mapped[bool] = mapped_column(Boolean)
    dry_run: Mapped[bool] = mapped_column(Boolean, server_default="false")
    state: Mapped[str] = mapped_column(Text)
    inputs: Mapped[dict[str, Any]] = mapped_column(JSONB)
    event: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    labels: Mapped[list[str]] = mapped_column(JSONB)
    """Where its inputs came from."""
    held_by: Mapped[str] = mapped_column(Text, server_default="")
    """The process that works on it, which says so again and again."""
    held_until: Mapped[datetime | None] = mapped_column(_MOMENT)
    wake_at: Mapped[datetime | None] = mapped_column(_MOMENT)
    """When there is something to do again, where that is known."""
    cancel_requested: Mapped[bool] = mapped_column(Boolean, server_default="false")
    cancelled_by: Mapped[str] = mapped_column(Text, server_default="")
    finish_by: Mapped[datetime | None] = mapped_column(_MOMENT)
    """Until when a cancelled run may do its last steps."""
    created_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.clock_timestamp())
    started_at: Mapped[datetime | None] = mapped_column(_MOMENT)
    ended_at: Mapped[datetime | None] = mapped_column(_MOMENT)
    seconds: Mapped[float] = mapped_column(Float, server_default="0")
    """How long it worked; waiting for a person or a job does not count."""
    output: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    problem: Mapped[str] = mapped_column(Text, server_default="")

    __table_args__ = (
        CheckConstraint(
            "state in ('queued', 'running', 'waiting', 'done', 'failed', 'cancelled', 'skipped')",
            name="state",
        ),
        Index("uq_workflow_runs_cause", "workflow_id", "cause", unique=True),
        Index("ix_workflow_runs_workflow_created", "workflow_id", "created_at"),
        Index(
            "uq_workflow_runs_working",
            "workflow_id",
            unique=True,
            postgresql_where="state in ('running', 'waiting')",
        ),
        Index(
            "ix_workflow_runs_open",
            "created_at",
            postgresql_where="state in ('queued', 'running', 'waiting')",
        ),
    )


class WorkflowStepRow(Base):
    """One try of one step of a run, by its path: `each[2]/resize`."""

    __tablename__ = "workflow_steps"

    run_id: Mapped[str] = mapped_column(
        ForeignKey("workflow_runs.id", ondelete="CASCADE"), primary_key=True
    )
    path: Mapped[str] = mapped_column(Text, primary_key=True)
    try_: Mapped[int] = mapped_column("try", Integer, primary_key=True)
    step: Mapped[str] = mapped_column(Text)
    tool: Mapped[str] = mapped_column(Text)
    call_id: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    arguments: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    labels: Mapped[list[str]] = mapped_column(JSONB, server_default="[]")
    """What had been read when it began; what comes later says nothing about it."""
    gives: Mapped[list[str]] = mapped_column(JSONB, server_default="[]")
    """The labels that its result brings."""
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    approval_id: Mapped[str | None] = mapped_column(Text)
    job_id: Mapped[str | None] = mapped_column(Text)
    superseded: Mapped[bool] = mapped_column(Boolean, server_default="false")
    """It is to be tried again, whatever came of this try."""
    not_before: Mapped[datetime | None] = mapped_column(_MOMENT)
    """When it goes on: the next try, or the end of a pause."""
    started_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.clock_timestamp())
    ended_at: Mapped[datetime | None] = mapped_column(_MOMENT)

    __table_args__ = (
        CheckConstraint(
            "state in ('running', 'waiting', 'done', 'failed', 'skipped', 'unknown', 'cancelled')",
            name="state",
        ),
        Index("ix_workflow_steps_approval", "approval_id"),
    )
