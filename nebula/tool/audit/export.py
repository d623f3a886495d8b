"""Writes the log out with its hashes, and verifies such a file where there is no database."""

import csv
import io
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import text

from nebula.db.engine import Database
from nebula.errors import InvalidInput, NotFound
from nebula.tool.audit.anchors import read
from nebula.tool.audit.chain import Chain, Line
from nebula.tool.audit.log import Wanted, matching
from nebula.tool.audit.models import AuditRow
from nebula.tool.audit.verify import AuditReport, Verification

VERSION = 1
_PAGE = 1000
_TOLD = ("at", "principal", "surface", "tool", "call_id", "session_id", "outcome")
_HASHED = ("payload", "prev_hash", "hash")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


async def as_jsonl(db: Database, wanted: Wanted = Wanted()) -> AsyncIterator[bytes]:  # noqa: B008 - frozen
    """Yield a file of JSON lines: what it is, every line oldest first, and how it ends."""
    selection = wanted != Wanted()
    yield _json({"nebula_audit": VERSION, "selection": selection})
    head, count = await _head(db), 0
    async for page in _pages(db, wanted, head[0]):
        count += len(page)
        yield b"".join(_json(_stored(line)) for line in page)
    yield _json({"end": count, "head": {"seq": head[0], "hash": head[1].hex()}})


async def as_csv(db: Database, wanted: Wanted = Wanted()) -> AsyncIterator[bytes]:  # noqa: B008 - frozen
    """Yield the same as a table for a spreadsheet; what looks like a formula is quoted."""
    yield _row(["seq", *_TOLD, *_HASHED])
    async for page in _pages(db, wanted, (await _head(db))[0]):
        yield b"".join(map(_table_row, page))


def verify_file(path: Path, anchors: Path | None = None, key: str = "") -> AuditReport:
    """Check an exported file, and hold it against anchors if there are some.

    Raises:
        NotFound: when there is no such file.
        InvalidInput: when it is no export of JSON lines.
    """
    try:
        with path.open("rb") as file:
            return _verified(file, read(anchors, key) if anchors else None)
    except FileNotFoundError as error:
        raise NotFound(f"There is no file {path}") from error


def _verified(file: Any, anchors: Any) -> AuditReport:
    first = _parsed(next(file, b""))
    if first.get("nebula_audit") != VERSION:
        raise InvalidInput(
            "This is no export of the audit log as JSON lines",
            hint="Make one with `jarvis audit export FILE.jsonl`.",
        )
    selection = bool(first.get("selection"))
    checked = Verification(anchors, Chain(selection=selection))
    end: dict[str, Any] = {}
    for number, raw in enumerate(file, start=2):
        told = _parsed(raw)
        if "end" in told:
            end = told
        elif (line := _read(told)) is not None:
            checked.take(line)
        else:
            checked.chain.complain(f"row {number} of the file is no line of the log")
    if not end or end["end"] != checked.chain.lines:
        checked.chain.complain("the file does not end as it was written: it was cut short")
    elif not selection:
        checked.end((end["head"]["seq"], bytes.fromhex(end["head"]["hash"])))
    notes = ["it is a selection, so what was left out cannot be told"] if selection else []
    return checked.report(notes)


async def _head(db: Database) -> tuple[int, bytes]:
    async with db.session() as session:
        seq, digest = (await session.execute(text("SELECT seq, hash FROM audit_head"))).one()
    return int(seq), bytes(digest)


async def _pages(db: Database, wanted: Wanted, upto: int) -> AsyncIterator[list[Line]]:
    """Yield matching lines up to a number; no connection is held while a reader is slow."""
    after = 0
    query = matching(wanted, AuditRow.seq, AuditRow.payload, AuditRow.prev_hash, AuditRow.hash)
    while True:
        bounded = query.where(AuditRow.seq > after, AuditRow.seq <= upto)
        async with db.session() as session:
            rows = (await session.execute(bounded.order_by(AuditRow.seq).limit(_PAGE))).all()
        if not rows:
            return
        yield [
            Line(seq, payload, bytes(prev), bytes(digest)) for seq, payload, prev, digest in rows
        ]
        after = rows[-1][0]


def _stored(line: Line) -> dict[str, object]:
    return {
        "seq": line.seq,
        "payload": line.payload,
        "prev_hash": line.prev_hash.hex(),
        "hash": line.hash.hex(),
    }


def _read(told: dict[str, Any]) -> Line | None:
    try:
        prev, digest = bytes.fromhex(told["prev_hash"]), bytes.fromhex(told["hash"])
        return Line(int(told["seq"]), str(told["payload"]), prev, digest)
    except (KeyError, TypeError, ValueError):
        return None


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        told = json.loads(raw)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _json(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _table_row(line: Line) -> bytes:
    told = line.told()
    cells: Iterator[str] = (_harmless(str(told.get(name) or "")) for name in _TOLD)
    return _row([str(line.seq), *cells, line.payload, line.prev_hash.hex(), line.hash.hex()])


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _row(cells: list[str]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerow(cells)
    return written.getvalue().encode()
