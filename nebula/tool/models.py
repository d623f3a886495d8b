"""Tables of the executor: calls with effects, and approvals."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    DateTime,
    Index,
    Integer,
    Numeric,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from nebula.db.base import Base


class ToolCall(Base):
    """A call with an effect: recorded before it runs, so that it cannot run twice."""

    __tablename__ = "tool_calls"

    principal_id: Mapped[str] = mapped_column(Text, primary_key=True)
    call_id: Mapped[str] = mapped_column(Text, primary_key=True)
    tool: Mapped[str] = mapped_column(Text)
    arguments_sha256: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    approval_id: Mapped[str | None] = mapped_column(Text)
    session_id: Mapped[str | None] = mapped_column(Text)
    cost: Mapped[Decimal | None] = mapped_column(Numeric(14, 4))
    started_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp()
    )
    deadline: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (
        CheckConstraint(
            "state in ('running', 'waiting', 'succeeded', 'failed', 'unknown')", name="state"
        ),
        # What a day's limits count.
        Index("ix_tool_calls_day", "principal_id", "tool", "started_at"),
    )


class PauseRow(Base):
    """The kill switch: while this one row is there, nothing takes effect."""

    __tablename__ = "policy_pause"

    one: Mapped[bool] = mapped_column(Boolean, primary_key=True, server_default="true")
    reason: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp()
    )

    __table_args__ = (CheckConstraint("one", name="only_row"),)


class ApprovalRow(Base):
    """A question to a person about one exact call, and the answer."""

    __tablename__ = "approvals"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    principal_id: Mapped[str] = mapped_column(Text)
    principal_name: Mapped[str] = mapped_column(Text)
    call_id: Mapped[str] = mapped_column(Text)
    tool: Mapped[str] = mapped_column(Text)
    permission: Mapped[str] = mapped_column(Text)
    effect: Mapped[str] = mapped_column(Text)
    envelope: Mapped[dict[str, Any]] = mapped_column(JSONB)
    sha256: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    surface: Mapped[str] = mapped_column(Text)
    session_id: Mapped[str | None] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, server_default="pending")
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp()
    )
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    decided_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    decided_by: Mapped[str | None] = mapped_column(Text)
    decided_where: Mapped[str | None] = mapped_column(Text)
    comment: Mapped[str] = mapped_column(Text, server_default="")
    level: Mapped[str] = mapped_column(Text, server_default="normal")
    rule: Mapped[str] = mapped_column(Text, server_default="")
    four_eyes: Mapped[str] = mapped_column(Text, server_default="auto")
    evidence: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    decided_by_id: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        CheckConstraint(
            "state in ('pending', 'approved', 'denied', 'changes_requested', 'used', 'expired',"
            " 'withdrawn')",
            name="state",
        ),
        Index("ix_approvals_call", "principal_id", "call_id", unique=True),
        Index("ix_approvals_pending", "created_at", postgresql_where="state = 'pending'"),
        Index("ix_approvals_tool", "principal_id", "tool", "created_at"),
    )


class GrantRow(Base):
    """A standing grant: proposed after clean runs, then a person's word, counted until it ends."""

    __tablename__ = "policy_grants"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    tool: Mapped[str] = mapped_column(Text)
    selectors: Mapped[dict[str, Any]] = mapped_column(JSONB)
    principal_id: Mapped[str] = mapped_column(Text)
    principal_name: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, server_default="proposed")
    uses: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp()
    )
    decided_by: Mapped[str | None] = mapped_column(Text)
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    ended_because: Mapped[str] = mapped_column(Text, server_default="")

    __table_args__ = (
        CheckConstraint("state in ('proposed', 'active', 'declined', 'withdrawn')", name="state"),
        CheckConstraint("state != 'active' or expires_at is not null", name="expires"),
        Index("ix_policy_grants_who", "principal_id", "tool", "state"),
    )
