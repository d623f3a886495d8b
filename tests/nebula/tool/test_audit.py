"""The audit log tells of every tampering."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from nebula.db.engine import Database
from nebula.tool.audit import Audit


@pytest.fixture
async def audit(database: Database) -> Audit:
    made = Audit(database)
    for n in range(5):
        async with database.session() as session:
            await made.append(session, {**LINE, "call_id": f"c{n}"})
    return made


LINE = {
    "principal": "ada",
    "surface": "rest",
    "tool": "gpu_switch",
    "call_id": "c",
    "outcome": "ok",
}


async def tamper(database: Database, statement: str) -> None:
    """Change the log as somebody with the database's highest rights could."""
    async with database.session() as session:
        await session.execute(text("ALTER TABLE audit_log DISABLE TRIGGER audit_append_only"))
        await session.execute(text(statement))


async def test_an_untouched_log_is_intact(audit: Audit) -> None:
    report = await audit.verify()
    assert (report.lines, report.intact) == (5, True)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        (
            "UPDATE audit_log SET payload = replace(payload, 'ada', 'bob') WHERE seq = 3",
            "line 3 was changed",
        ),
        ("DELETE FROM audit_log WHERE seq = 3", "line 3 is missing"),
        ("DELETE FROM audit_log WHERE seq > 3", "lines after 3 are missing"),
        (
            "UPDATE audit_log SET payload = (SELECT payload FROM audit_log WHERE seq = 2) "
            "WHERE seq = 4",
            "line 4 was changed",
        ),
    ],
)
async def test_tampering_is_found(
    audit: Audit, database: Database, statement: str, problem: str
) -> None:
    await tamper(database, statement)
    report = await audit.verify()
    assert not report.intact
    assert report.problem == problem


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET payload = ''", "DELETE FROM audit_log"]
)
async def test_the_application_cannot_change_a_line(
    audit: Audit, database: Database, statement: str
) -> None:
    with pytest.raises(DBAPIError, match="append-only"):
        async with database.session() as session:
            await session.execute(text(statement))


async def test_lines_written_at_once_make_one_chain(audit: Audit, database: Database) -> None:
    async def write() -> None:
        async with database.session() as session:
            await audit.append(session, LINE)

    await asyncio.gather(*[write() for _ in range(20)])
    report = await audit.verify()
    assert (report.lines, report.intact) == (25, True)


async def test_a_nul_character_does_not_stop_the_log(audit: Audit, database: Database) -> None:
    async with database.session() as session:
        await audit.append(session, {**LINE, "detail": {"name": "a\x00b"}})
    assert (await audit.verify()).intact


async def test_a_rolled_back_line_leaves_no_hole(audit: Audit, database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.session() as session:
            await audit.append(session, LINE)
            raise ZeroDivisionError
    async with database.session() as session:
        await audit.append(session, LINE)
    assert (await audit.verify()).lines == 6
