"""Tables of the audit log. The program's own role may read them; `audit_append` writes."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Computed, Index, LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from nebula.db.base import Base


def _computed(name: str) -> Mapped[str | None]:
    return mapped_column(Text, Computed(f"(payload::jsonb) ->> '{name}'", persisted=True))


class AuditRow(Base):
    """One line of the log: `hash` covers the line before, the number and the payload."""

    __tablename__ = "audit_log"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    payload: Mapped[str] = mapped_column(Text)
    prev_hash: Mapped[bytes] = mapped_column(LargeBinary)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    tool: Mapped[str | None] = _computed("tool")
    principal: Mapped[str | None] = _computed("principal")
    session_id: Mapped[str | None] = _computed("session_id")
    outcome: Mapped[str | None] = _computed("outcome")
    at: Mapped[str | None] = _computed("at")
    """ISO 8601 in UTC with milliseconds, so that it sorts as text."""

    __table_args__ = tuple(
        Index(f"ix_audit_log_{column}", column, "seq")
        for column in ("principal", "tool", "session_id", "at")
    )


class AuditHead(Base):
    """The last line's number and hash; its row lock makes the log one chain."""

    __tablename__ = "audit_head"

    one: Mapped[bool] = mapped_column(Boolean, primary_key=True, server_default="true")
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[bytes] = mapped_column(LargeBinary)

    __table_args__ = (CheckConstraint("one", name="only_row"),)
