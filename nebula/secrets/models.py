"""Tables of stored secrets: each with its last two versions, and who used it when."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    Index,
    LargeBinary,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from nebula.db.base import Base


class SecretRow(Base):
    """A secret of an environment; `version` names the row that holds its value."""

    __tablename__ = "secrets"

    environment: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger)
    note: Mapped[str] = mapped_column(Text, server_default="")
    features: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    """The features whose tools may receive it in calls of those who may not see secrets."""
    changed_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp()
    )


class SecretVersion(Base):
    """A value, sealed. Numbers are never used again, so an approval can name one."""

    __tablename__ = "secrets_versions"

    version: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    environment: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    """A keyed hash: values are compared by it, without opening them."""
    set_by: Mapped[str] = mapped_column(Text)
    set_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp()
    )

    __table_args__ = (
        ForeignKeyConstraint(
            ["environment", "name"],
            ["secrets.environment", "secrets.name"],
            ondelete="CASCADE",
            deferrable=True,
            initially="DEFERRED",
        ),
        Index("ix_secrets_versions_secret", "environment", "name"),
    )


class SecretUse(Base):
    """One time a tool was given a secret; it stays when the secret is deleted."""

    __tablename__ = "secrets_uses"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    environment: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(BigInteger)
    principal: Mapped[str] = mapped_column(Text)
    surface: Mapped[str] = mapped_column(Text)
    tool: Mapped[str] = mapped_column(Text)
    call_id: Mapped[str] = mapped_column(Text)
    job_id: Mapped[str | None] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp()
    )

    __table_args__ = (Index("ix_secrets_uses_secret", "environment", "name", "id"),)
