"""Tables of the webhooks: who may tell us what, and what was told."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Index, LargeBinary, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from nebula.db.base import Base

_MOMENT = DateTime(timezone=True)


class WebhookRow(Base):
    """An address that another system posts to, and what it signs with."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    owner_id: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    form: Mapped[str] = mapped_column(Text)
    where: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """Fields of the body that have to have a value; others are taken and start nothing."""
    secret_sealed: Mapped[bytes] = mapped_column(LargeBinary)
    previous_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    previous_until: Mapped[datetime | None] = mapped_column(_MOMENT)
    problem: Mapped[str] = mapped_column(Text, server_default="")
    created_at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.clock_timestamp())

    __table_args__ = (
        CheckConstraint("form in ('standard', 'github', 'twitch')", name="form"),
        Index("uq_webhooks_owner_name", "owner_id", "name", unique=True),
    )


class DeliveryRow(Base):
    """One thing that was told; its key makes it count once, however often it is sent."""

    __tablename__ = "webhooks_deliveries"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    key: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(Text)
    body: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """Forgotten earlier than the row, which still knows a repetition."""
    at: Mapped[datetime] = mapped_column(_MOMENT, server_default=func.clock_timestamp())

    __table_args__ = (
        CheckConstraint("outcome in ('told', 'filtered', 'noted')", name="outcome"),
        Index("uq_webhooks_deliveries_key", "webhook_id", "key", unique=True),
        Index("ix_webhooks_deliveries_at", "webhook_id", "at"),
    )
