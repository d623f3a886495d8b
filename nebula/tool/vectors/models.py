"""The table of tool vectors."""

from datetime import datetime

from sqlalchemy import DateTime, LargeBinary, func
from sqlalchemy.orm import Mapped, mapped_column

from nebula.db.base import Base


class ToolVectors(Base):
    """All vectors of one catalogue under one embedding model, as float32 rows."""

    __tablename__ = "tool_vectors"

    catalogue: Mapped[str] = mapped_column(primary_key=True)
    embedding: Mapped[str] = mapped_column(primary_key=True)
    vectors: Mapped[bytes] = mapped_column(LargeBinary)
    used_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), index=True
    )
