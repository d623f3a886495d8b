"""The channels messages go to."""

from datetime import datetime

from sqlalchemy import Boolean, DateTime, LargeBinary, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from nebula.db.base import Base


class NotifyChannel(Base):
    """A channel; its address holds passwords and tokens, so it is stored sealed."""

    __tablename__ = "notify_channels"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    target: Mapped[str] = mapped_column(Text)
    enabled: Mapped[bool] = mapped_column(Boolean, server_default="true")
    last_outcome: Mapped[str | None] = mapped_column(Text)
    last_used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    changed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
