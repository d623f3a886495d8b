"""Every way of changing the log is found, and its line is named."""

import json
import random
import re
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text

from nebula.db.engine import Database
from nebula.tool.audit.anchoring import Anchoring
from nebula.tool.audit.anchors import Anchor, Anchors
from nebula.tool.audit.chain import Line
from nebula.tool.audit.verify import AuditReport, Verification
from tests.nebula.tool.audit.conftest import LINE, Write
from tests.nebula.tool.audit.forger import FORGERIES, Forge, chained, head_of

Verified = Callable[[], Awaitable[AuditReport]]
ROUNDS = 40


def honest(draw: random.Random) -> list[Line]:
    names = ["x", "\ufffd", "naïve 🎛", "\u202e"]
    told = [
        {**LINE, "call_id": f"{n}", "detail": {"name": draw.choice(names)}}
        for n in range(draw.randrange(3, 40))
    ]
    return chained([json.dumps(line, sort_keys=True) for line in told])


def anchored(lines: list[Line], draw: random.Random) -> Anchors:
    """Anchor some lines, and the last."""
    at = sorted({*draw.sample(range(len(lines)), draw.randrange(len(lines))), len(lines) - 1})
    known: list[Anchor] = []
    for number, index in enumerate(at, start=1):
        line = lines[index]
        prev = known[-1].sha256 if known else "0" * 64
        known.append(
            Anchor(file="f", number=number, seq=line.seq, hash=line.hash.hex(), at="t", prev=prev)
        )
    return Anchors(known)


def checked(lines: list[Line], head: tuple[int, bytes] | None, anchors: Anchors) -> list[str]:
    verification = Verification(anchors)
    for line in lines:
        verification.take(line)
    verification.end(head)
    return verification.report().problems


def names(problem: str, wanted: range) -> bool:
    """Say whether a problem names one of the lines, also within a span."""
    ranges = re.findall(r"line(?:s)? (\d+)(?: to (\d+))?", problem)
    return any(
        range(max(int(first), wanted.start), min(int(last or first) + 1, wanted.stop))
        for first, last in ranges
    )


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_whatever_a_forger_does_to_an_anchored_log_is_found_where_it_was_done(forge: Forge) -> None:
    for seed in range(ROUNDS):
        draw = random.Random(seed)
        lines = honest(draw)
        anchors = anchored(lines, draw)
        assert checked(lines, head_of(lines), anchors) == []
        forged = forge(lines, draw)
        problems = checked(forged.lines, forged.head, anchors)
        assert any(names(problem, forged.where) for problem in problems), (seed, problems)


def test_a_log_that_is_only_longer_than_its_anchors_is_intact() -> None:
    draw = random.Random(1)
    lines = honest(draw)
    anchors = anchored(lines[:3], draw)
    assert checked(lines, head_of(lines), anchors) == []


async def rewrite(database: Database, lines: list[Line], head: tuple[int, bytes] | None) -> None:
    """Put another log in the place of the real one, as a superuser or owner could."""
    async with database.session() as session:
        await session.execute(text("ALTER TABLE audit_log DISABLE TRIGGER ALL"))
        await session.execute(text("ALTER TABLE audit_log DROP CONSTRAINT pk_audit_log"))
        await session.execute(text("TRUNCATE audit_log"))
        for line in lines:
            await session.execute(
                text(
                    "INSERT INTO audit_log (seq, payload, prev_hash, hash) VALUES (:s, :p, :v, :h)"
                ),
                {"s": line.seq, "p": line.payload, "v": line.prev_hash, "h": line.hash},
            )
        await session.execute(text("DELETE FROM audit_head"))
        if head is not None:
            await session.execute(
                text("INSERT INTO audit_head (seq, hash) VALUES (:s, :h)"),
                {"s": head[0], "h": head[1]},
            )


async def stored(database: Database) -> list[Line]:
    query = text("SELECT seq, payload, prev_hash, hash FROM audit_log ORDER BY seq")
    async with database.session() as session:
        rows = (await session.execute(query)).all()
    return [Line(seq, payload, bytes(prev), bytes(digest)) for seq, payload, prev, digest in rows]


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
async def test_a_forgery_in_the_database_itself_is_found(
    forge: Forge, database: Database, write: Write, keeper: Anchoring, verified: Verified
) -> None:
    await write(3)
    await keeper.anchor()
    await write(3)
    await keeper.anchor()
    assert (await verified()).problems == []
    # The line about the last anchor comes after it: what is not anchored yet is left alone.
    lines = await stored(database)
    forged = forge(lines[:-1], random.Random(3))
    await rewrite(database, forged.lines, forged.head)
    report = await verified()
    assert not report.intact
    assert any(names(problem, forged.where) for problem in report.problems), report.problems


async def test_a_head_that_is_gone_is_missed(
    database: Database, write: Write, verified: Verified
) -> None:
    await write(2)
    await rewrite(database, await stored(database), None)
    assert (await verified()).problem == "the head of the log is gone"


@pytest.mark.parametrize("column", ["principal", "tool", "session_id", "outcome", "at"])
async def test_a_row_that_says_something_else_than_its_line_is_found(
    database: Database, write: Write, verified: Verified, column: str
) -> None:
    await write(3)
    async with database.session() as session:
        await session.execute(text("ALTER TABLE audit_log DISABLE TRIGGER ALL"))
        await session.execute(text(f"ALTER TABLE audit_log ALTER COLUMN {column} DROP EXPRESSION"))
        await session.execute(text(f"UPDATE audit_log SET {column} = 'bob' WHERE seq = 2"))
    (problem,) = (await verified()).problems
    assert problem.startswith("line 2 says") and column in problem
