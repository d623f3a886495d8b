"""Tables of the measurements."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, Double, Index, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from nebula.db.base import Base


class FootprintRow(Base):
    """One measured use of a model; None is a figure that nobody could give."""

    __tablename__ = "gpu_footprints"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    service: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text, server_default="")
    bucket: Mapped[str] = mapped_column(Text, server_default="")
    peak_vram: Mapped[int | None] = mapped_column(BigInteger)
    load_seconds: Mapped[float | None] = mapped_column(Double)
    run_seconds: Mapped[float | None] = mapped_column(Double)
    at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp()
    )

    __table_args__ = (Index("ix_gpu_footprints_key", "service", "model", "bucket", "id"),)


class UseRow(Base):
    """How often a model is wanted: a count that decays, as of its last use."""

    __tablename__ = "gpu_uses"

    service: Mapped[str] = mapped_column(Text, primary_key=True)
    model: Mapped[str] = mapped_column(Text, primary_key=True)
    weight: Mapped[float] = mapped_column(Double)
    at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp()
    )
