"""Tables of model calls and of which model thinks."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, Double, Identity, Index, Integer, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from nebula.db.base import Base


class LlmCall(Base):
    """One attempt at one model."""

    __tablename__ = "llm_calls"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    provider: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    tier: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(Text)
    principal_id: Mapped[str | None] = mapped_column(Text)
    session_id: Mapped[str | None] = mapped_column(Text)
    input_tokens: Mapped[int | None] = mapped_column(Integer)
    output_tokens: Mapped[int | None] = mapped_column(Integer)
    first_token_seconds: Mapped[float | None] = mapped_column(Double)
    seconds: Mapped[float] = mapped_column(Double)

    __table_args__ = (Index("ix_llm_calls_at", "at"), Index("ix_llm_calls_session", "session_id"))


class LlmChoice(Base):
    """Which model a person chose for a tier; no row means what the settings say."""

    __tablename__ = "llm_choices"

    tier: Mapped[str] = mapped_column(Text, primary_key=True)
    choice: Mapped[str] = mapped_column(Text)
    changed_by: Mapped[str] = mapped_column(Text)
    changed_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp()
    )
