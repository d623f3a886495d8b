"""The audit log: append-only lines, each hashed over the one before."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Select, select, text

from nebula.db.bare import Statements
from nebula.db.documents import storable
from nebula.db.engine import Database
from nebula.secrets.redact import LIVE
from nebula.tool.audit.models import AuditRow

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


class Wanted(BaseModel, frozen=True):
    """Which lines to find; what is left out does not matter."""

    principal: str | None = None
    tool: str | None = None
    session_id: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    """Stands somewhere in the line, such as in an argument; upper and lower case alike."""
    before: int | None = None
    """Only lines with a lower number: the next page."""


class Audit:
    """Writes and searches the log."""

    def __init__(self, db: Database) -> None:
        """Take the database that holds the log."""
        self._db = db

    async def append(self, session: Statements, line: Mapping[str, Any]) -> None:
        """Add a line in the caller's transaction; it commits with what it tells of."""
        await session.scalar(_APPEND, {"line": _written({"at": now(), **LIVE.value(dict(line))})})

    async def search(self, wanted: Wanted = Wanted(), *, limit: int = 100) -> list[AuditLine]:  # noqa: B008 - frozen
        """Return matching lines, newest first."""
        query = (
            matching(wanted, AuditRow.seq, AuditRow.payload)
            .order_by(AuditRow.seq.desc())
            .limit(limit)
        )
        async with self._db.session() as session:
            rows = (await session.execute(query)).all()
        return [AuditLine(seq=seq, **json.loads(payload)) for seq, payload in rows]


def _written(line: Mapping[str, Any]) -> str:
    payload = json.dumps(line, ensure_ascii=True, sort_keys=True, default=str)
    # PostgreSQL takes neither NUL nor half of a pair; an escape that looks like one is rare.
    if "\\u0000" in payload or "\\ud" in payload:
        payload = json.dumps(storable(json.loads(payload)), ensure_ascii=True, sort_keys=True)
    return payload


def now() -> str:
    """Return this moment as lines tell it: UTC, to the millisecond."""
    return moment(datetime.now(UTC))


def moment(at: datetime) -> str:
    """Write a moment so that it compares with those of the lines."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


def matching(wanted: Wanted, *columns: Any) -> Select[*tuple[Any, ...]]:
    """Return the query for columns of the lines that are wanted."""
    query = select(*columns)
    for column in ("principal", "tool", "session_id", "outcome"):
        if (value := getattr(wanted, column)) is not None:
            query = query.where(getattr(AuditRow, column) == value)
    if wanted.since is not None:
        query = query.where(AuditRow.at >= moment(wanted.since))
    if wanted.until is not None:
        query = query.where(AuditRow.at < moment(wanted.until))
    if wanted.text:
        # Lines are ASCII, with everything else escaped: so is what is looked for.
        query = query.where(
            AuditRow.payload.icontains(json.dumps(wanted.text)[1:-1], autoescape=True)
        )
    if wanted.before is not None:
        query = query.where(AuditRow.seq < wanted.before)
    return query
