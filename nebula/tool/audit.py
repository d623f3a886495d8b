"""The audit log: append-only lines, each hashed over the one before."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy import select, text

from nebula.db.bare import Statements
from nebula.db.engine import Database
from nebula.secrets.redact import LIVE
from nebula.tool.models import AuditHead, AuditRow

_FIRST = b"\x00"
_PAGE = 2000
_APPEND = text("SELECT audit_append(:line)")


class AuditLine(BaseModel):
    """One line as it was written."""

    seq: int
    at: str
    principal: str
    surface: str
    tool: str
    call_id: str
    session_id: str | None = None
    outcome: str
    detail: dict[str, Any] = {}


class AuditReport(BaseModel):
    """What verifying found: how many lines, and the first problem if there is one."""

    lines: int
    intact: bool
    problem: str = ""


class Audit:
    """Writes, reads and verifies the log."""

    def __init__(self, db: Database) -> None:
        """Take the database that holds the log."""
        self._db = db

    async def append(self, session: Statements, line: Mapping[str, Any]) -> None:
        """Add a line in the caller's transaction; it commits with what it tells of."""
        payload = json.dumps(
            {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), **LIVE.value(dict(line))},
            ensure_ascii=True,
            sort_keys=True,
            default=str,
        )
        # PostgreSQL text cannot hold NUL; JSON would carry it as an escape that jsonb refuses.
        await session.scalar(_APPEND, {"line": payload.replace("\\u0000", "\\ufffd")})

    async def search(
        self,
        *,
        principal: str | None = None,
        tool: str | None = None,
        session_id: str | None = None,
        limit: int = 100,
    ) -> list[AuditLine]:
        """Return matching lines, newest first."""
        query = select(AuditRow).order_by(AuditRow.seq.desc()).limit(limit)
        wanted = {"principal": principal, "tool": tool, "session_id": session_id}
        for column, value in wanted.items():
            if value is not None:
                query = query.where(getattr(AuditRow, column) == value)
        async with self._db.session() as session:
            rows = (await session.scalars(query)).all()
        return [AuditLine(seq=row.seq, **json.loads(row.payload)) for row in rows]

    async def verify(self) -> AuditReport:
        """Recompute the whole chain; find an edit, deletion, reordering or truncation."""
        previous, seq = _FIRST, 0
        async with self._db.session() as session:
            while True:
                rows = (
                    await session.scalars(
                        select(AuditRow)
                        .where(AuditRow.seq > seq)
                        .order_by(AuditRow.seq)
                        .limit(_PAGE)
                    )
                ).all()
                for row in rows:
                    seq += 1
                    problem = _problem(row, seq, previous)
                    if problem:
                        return AuditReport(lines=seq - 1, intact=False, problem=problem)
                    previous = row.hash
                session.expunge_all()
                if len(rows) < _PAGE:
                    break
            head = (await session.scalars(select(AuditHead))).one_or_none()
        if head is None or (head.seq, head.hash) != (seq, previous):
            problem = f"lines after {seq} are missing"
            return AuditReport(lines=seq, intact=False, problem=problem)
        return AuditReport(lines=seq, intact=True)


def _problem(row: AuditRow, seq: int, previous: bytes) -> str:
    if row.seq != seq:
        return f"line {seq} is missing"
    if row.prev_hash != previous:
        return f"line {seq} does not follow line {seq - 1}"
    if hashlib.sha256(previous + f"{seq}:{row.payload}".encode()).digest() != row.hash:
        return f"line {seq} was changed"
    return ""
