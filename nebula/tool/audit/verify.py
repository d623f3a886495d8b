"""Verifies the log: its chain, its head, its rows, and the anchors outside the database."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.db.engine import Database
from nebula.tool.audit.anchors import Anchor, Anchors, read
from nebula.tool.audit.chain import COLUMNS, Chain, Line, span

ANCHORED = "audit_anchor"
"""The name under which the log itself tells of an anchor."""
_PAGE = 2000
_LINES = text(
    f"SELECT seq, payload, prev_hash, hash, {', '.join(COLUMNS)} FROM audit_log ORDER BY seq"  # noqa: S608 - names of ours
)
_HEAD = text("SELECT seq, hash FROM audit_head")
_RIGHTS = text(
    "SELECT current_user::text, pg_has_role(current_user, c.relowner, 'MEMBER') OR r.rolsuper"
    " OR has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')"
    " OR has_table_privilege('audit_head', 'INSERT, UPDATE, DELETE, TRUNCATE')"
    " FROM pg_class c, pg_roles r WHERE c.oid = 'audit_log'::regclass AND r.rolname = current_user"
)


class AuditReport(BaseModel):
    """What verifying found: how far it looked, and everything that is wrong."""

    lines: int
    intact: bool
    anchors: int = 0
    problems: list[str] = []
    notes: list[str] = []

    @property
    def problem(self) -> str:
        """Return the first problem; nothing when there is none."""
        return self.problems[0] if self.problems else ""


class Verification:
    """Takes every line once, and holds it against the chain and the anchors."""

    def __init__(self, anchors: Anchors | None = None, chain: Chain | None = None) -> None:
        """Take the anchors, if there are some, and a chain that begins otherwise than usual."""
        self.chain = chain or Chain()
        self._anchors = anchors or Anchors()
        self.chain.problems += self._anchors.problems
        self._at: dict[int, list[Anchor]] = {}
        for anchor in self._anchors.known:
            self._at.setdefault(anchor.seq, []).append(anchor)
        self._by_number: dict[Any, Anchor] = {a.number: a for a in self._anchors.known}
        self._file = self._anchors.known[0].file if self._anchors.known else ""
        self._sure = 0
        self._rewritten = False
        self.elsewhere: dict[str, int] = {}
        """How many anchors the log tells of in files that are not this one, by path."""

    def take(self, line: Line) -> None:
        """Check the next line."""
        told = self.chain.take(line)
        for problem in self._held_against_anchors(line):
            self.chain.complain(problem)
        if told.get("tool") == ANCHORED:
            for problem in self._anchor_told(line, told):
                self.chain.complain(problem)

    def end(self, head: tuple[int, bytes] | None) -> None:
        """Check that the log ends where its head and the newest anchor say."""
        last = self.chain.last
        if head is None:
            self.chain.complain("the head of the log is gone")
        elif head[0] > last:
            self.chain.complain(f"{span(last + 1, head[0])} missing: the log ends before its head")
        elif head != (last, self.chain.hash):
            self.chain.complain(f"line {last} is not the one that the head of the log names")
        gone = [anchor for anchor in self._anchors.known if anchor.seq > last]
        if gone:
            newest = max(gone, key=lambda anchor: anchor.seq)
            problem = f"{span(last + 1, newest.seq)} gone: line {newest.seq} was anchored"
            self.chain.complain(f"{problem} at {newest.at}")

    def report(self, notes: Iterable[str] = ()) -> AuditReport:
        """Return what was found."""
        return AuditReport(
            lines=self.chain.lines,
            intact=not self.chain.problems,
            anchors=len(self._anchors.known),
            problems=self.chain.problems,
            notes=[*self._anchors.notes, *notes],
        )

    def _held_against_anchors(self, line: Line) -> Iterable[str]:
        for anchor in self._at.get(line.seq, ()):
            if anchor.hash == line.hash.hex():
                self._sure = line.seq
            elif not self._rewritten:  # once rewritten, no later anchor fits either
                self._rewritten = True
                yield (
                    f"{span(self._sure + 1, line.seq)} not what was anchored at {anchor.at}: "
                    "the log was rewritten there"
                )

    def _anchor_told(self, line: Line, told: Mapping[str, Any]) -> Iterable[str]:
        detail = told.get("detail") or {}
        number = detail.get("number")
        if detail.get("file") != self._file:
            where = str(detail.get("path"))
            self.elsewhere[where] = self.elsewhere.get(where, 0) + 1
        elif (kept := self._by_number.get(number)) is None:
            yield f"anchor {number}, of which line {line.seq} tells, is gone from its file"
        elif kept.sha256 != detail.get("sha256"):
            yield f"anchor {number} is not the one of which line {line.seq} tells"


async def verify(db: Database, path: Path, key: str = "") -> AuditReport:
    """Check every line of the log in one snapshot, reading it as a stream."""
    checked = Verification(await asyncio.to_thread(read, path, key))
    async with db.session() as session:
        await session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        async for line in _lines(session):
            checked.take(line)
        head = (await session.execute(_HEAD)).one_or_none()
    checked.end(None if head is None else (head.seq, bytes(head.hash)))
    notes = list(_elsewhere(checked, path))
    if (role := await may_alter(db)) is not None:
        notes.append(alterable(role))
    return checked.report(notes)


async def may_alter(db: Database) -> str | None:
    """Return the name of the program's role when it could alter the log; else None."""
    async with db.session() as session:
        role, may = (await session.execute(_RIGHTS)).one()
    return str(role) if may else None


def alterable(role: str) -> str:
    """Say that a role could alter the log, and what to do about it."""
    return (
        f"the program's database role {role!r} could alter the log, and only the anchors would "
        "show it: `jarvis audit role` prints how to give it a role that cannot"
    )


async def _lines(session: AsyncSession) -> AsyncIterator[Line]:
    """Yield every line in order, a page in memory at a time."""
    streamed = await session.stream(_LINES.execution_options(yield_per=_PAGE))
    async for seq, payload, prev, digest, *told in streamed:
        yield Line(seq, payload, bytes(prev), bytes(digest), dict(zip(COLUMNS, told, strict=True)))


def _elsewhere(checked: Verification, path: Path) -> Iterable[str]:
    """Tell of anchors in files that were not looked at; the one that should be here is missed."""
    for where, count in checked.elsewhere.items():
        if where == str(path.absolute()):
            checked.chain.complain(
                f"{path} is not the file of the {count} anchors that the log tells of"
            )
        else:
            yield f"{count} anchors in {where} were not looked at; --anchors FILE does"
