"""Tables of the ledger. Sizes in bytes; every time is the database's own."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    Text,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from nebula.db.base import Base

_TIME = DateTime(timezone=True)
_NOW = func.clock_timestamp()


class CardRow(Base):
    """A card: what it has, and what is promised of it; its row lock orders every change."""

    __tablename__ = "gpu_cards"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    node: Mapped[str] = mapped_column(Text)
    gpu: Mapped[int] = mapped_column(Integer)
    name: Mapped[str | None] = mapped_column(Text)
    capacity: Mapped[int] = mapped_column(BigInteger)
    kept: Mapped[int] = mapped_column(BigInteger, server_default="0")
    reserved: Mapped[int] = mapped_column(BigInteger, server_default="0")
    foreign_used: Mapped[int] = mapped_column(BigInteger, server_default="0")
    last_token: Mapped[int] = mapped_column(BigInteger, server_default="0")
    healthy: Mapped[bool] = mapped_column(Boolean, server_default="true")
    draining: Mapped[bool] = mapped_column(Boolean, server_default="false")
    simulated: Mapped[bool] = mapped_column(Boolean, server_default="false")
    utilization: Mapped[float | None] = mapped_column(Double)
    seen_at: Mapped[datetime] = mapped_column(_TIME, server_default=_NOW)

    __table_args__ = (
        CheckConstraint("reserved >= 0 AND reserved <= capacity", name="reserved"),
        Index("ix_gpu_cards_place", "node", "gpu", unique=True),
    )


class ResidentRow(Base):
    """A model on a card, or on its way there or away; its memory counts in all three states."""

    __tablename__ = "gpu_residents"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    card: Mapped[str] = mapped_column(Text, ForeignKey("gpu_cards.id", ondelete="CASCADE"))
    service: Mapped[str] = mapped_column(Text)
    model: Mapped[str | None] = mapped_column(Text)
    vram: Mapped[int] = mapped_column(BigInteger)
    measured: Mapped[int | None] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(Text)
    loader: Mapped[str | None] = mapped_column(Text)
    busy: Mapped[bool] = mapped_column(Boolean, server_default="false")
    changed_at: Mapped[datetime] = mapped_column(_TIME, server_default=_NOW)
    last_used_at: Mapped[datetime | None] = mapped_column(_TIME)

    __table_args__ = (
        CheckConstraint("vram >= 0", name="vram"),
        CheckConstraint("state in ('loading', 'loaded', 'leaving')", name="state"),
        Index("ix_gpu_residents_card", "card"),
    )


class RequestRow(Base):
    """A wish for GPU memory, from its first word until it is placed or taken back."""

    __tablename__ = "gpu_requests"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    state: Mapped[str] = mapped_column(Text, server_default="waiting")
    klass: Mapped[str] = mapped_column(Text)
    owner_id: Mapped[str] = mapped_column(Text)
    owner_name: Mapped[str] = mapped_column(Text)
    service: Mapped[str | None] = mapped_column(Text)
    model: Mapped[str | None] = mapped_column(Text)
    bucket: Mapped[str] = mapped_column(Text, server_default="")
    what: Mapped[str] = mapped_column(Text, server_default="")
    vram: Mapped[int | None] = mapped_column(BigInteger)
    run_seconds: Mapped[float | None] = mapped_column(Double)
    node: Mapped[str | None] = mapped_column(Text)
    yields: Mapped[bool] = mapped_column(Boolean, server_default="false")
    priority: Mapped[int] = mapped_column(Integer, server_default="0")
    job_id: Mapped[str | None] = mapped_column(Text)
    because: Mapped[str] = mapped_column(Text, server_default="")
    created_at: Mapped[datetime] = mapped_column(_TIME, server_default=_NOW)
    seen_at: Mapped[datetime | None] = mapped_column(_TIME)

    __table_args__ = (
        CheckConstraint("state in ('waiting', 'placed', 'done', 'withdrawn')", name="state"),
        Index(
            "ix_gpu_requests_job",
            "job_id",
            unique=True,
            postgresql_where="state in ('waiting', 'placed')",
        ),
        Index("ix_gpu_requests_waiting", "created_at", postgresql_where="state = 'waiting'"),
    )


class LeaseRow(Base):
    """A right to memory of a card; it counts until it has ended, lost or not."""

    __tablename__ = "gpu_leases"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    request_id: Mapped[str | None] = mapped_column(Text)
    token: Mapped[int] = mapped_column(BigInteger)
    card: Mapped[str] = mapped_column(Text, ForeignKey("gpu_cards.id", ondelete="CASCADE"))
    resident: Mapped[str | None] = mapped_column(Text)
    service: Mapped[str | None] = mapped_column(Text)
    model: Mapped[str | None] = mapped_column(Text)
    bucket: Mapped[str] = mapped_column(Text, server_default="")
    what: Mapped[str] = mapped_column(Text, server_default="")
    vram: Mapped[int] = mapped_column(BigInteger)
    klass: Mapped[str] = mapped_column(Text)
    owner_id: Mapped[str] = mapped_column(Text)
    owner_name: Mapped[str] = mapped_column(Text)
    job_id: Mapped[str | None] = mapped_column(Text)
    holder: Mapped[str | None] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, server_default="active")
    yields: Mapped[bool] = mapped_column(Boolean, server_default="false")
    should_yield: Mapped[bool] = mapped_column(Boolean, server_default="false")
    expected_seconds: Mapped[float | None] = mapped_column(Double)
    peak: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(_TIME, server_default=_NOW)
    started_at: Mapped[datetime | None] = mapped_column(_TIME)
    expires_at: Mapped[datetime] = mapped_column(_TIME)
    ended_at: Mapped[datetime | None] = mapped_column(_TIME)
    end_reason: Mapped[str] = mapped_column(Text, server_default="")

    __table_args__ = (
        CheckConstraint("vram >= 0", name="vram"),
        CheckConstraint("state in ('active', 'releasing', 'ended', 'lost')", name="state"),
        Index("ix_gpu_leases_token", "card", "token", unique=True),
        Index("ix_gpu_leases_open", "card", postgresql_where="state <> 'ended'"),
        Index(
            "ix_gpu_leases_job",
            "job_id",
            unique=True,
            postgresql_where="state in ('active', 'releasing')",
        ),
        Index("ix_gpu_leases_ended", "ended_at", postgresql_where="state = 'ended'"),
    )


class DecisionRow(Base):
    """One decision and its reason in a sentence."""

    __tablename__ = "gpu_decisions"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    at: Mapped[datetime] = mapped_column(_TIME, server_default=_NOW)
    kind: Mapped[str] = mapped_column(Text)
    card: Mapped[str | None] = mapped_column(Text)
    label: Mapped[str] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)

    __table_args__ = (Index("ix_gpu_decisions_at", "at"),)
