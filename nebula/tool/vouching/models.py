"""Tables of what can be used once."""

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, Index, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from nebula.db.base import Base

_MOMENT = DateTime(timezone=True)


class StepUse(Base):
    """A step of a plan that has run, and the call that it was."""

    __tablename__ = "policy_step_uses"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    principal_id: Mapped[str] = mapped_column(Text)
    call_id: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.clock_timestamp())

    __table_args__ = (Index("ix_policy_step_uses_at", "at", postgresql_using="brin"),)


class EndorsementRow(Base):
    """One value of one argument of one tool that a person has vouched for, in one conversation."""

    __tablename__ = "policy_endorsements"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    principal_id: Mapped[str] = mapped_column(Text)
    session_id: Mapped[str] = mapped_column(Text)
    tool: Mapped[str] = mapped_column(Text)
    selector: Mapped[str] = mapped_column(Text)
    value: Mapped[Any] = mapped_column(JSONB)
    endorsed_by: Mapped[str] = mapped_column(Text)
    endorsed_where: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.clock_timestamp())
    expires_at: Mapped[datetime] = mapped_column(_MOMENT)
    used_at: Mapped[datetime | None] = mapped_column(_MOMENT)
    used_by: Mapped[str | None] = mapped_column(Text)
    """The call that used it up."""

    __table_args__ = (
        Index("ix_policy_endorsements_session_id", "session_id", "tool"),
        Index("ix_policy_endorsements_created_at", "created_at", postgresql_using="brin"),
    )
