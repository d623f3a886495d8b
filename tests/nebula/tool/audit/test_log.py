"""Writing and searching the log; who may not change it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from nebula.db.engine import Database
from nebula.settings import Settings
from nebula.tool.audit.log import Audit, Wanted
from nebula.tool.audit.verify import AuditReport, may_alter
from tests.nebula.tool.audit.conftest import LINE, Write

Verified = Callable[[], Awaitable[AuditReport]]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET payload = ''",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "INSERT INTO audit_log (seq, payload, prev_hash, hash) VALUES (9, '{}', 'a', 'b')",
        "UPDATE audit_head SET seq = 0",
        "DELETE FROM audit_head",
        "ALTER TABLE audit_log DISABLE TRIGGER audit_append_only",
        "DROP TRIGGER audit_append_only ON audit_log",
        "DROP TABLE audit_log",
        "CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql "
        "AS 'BEGIN RETURN NULL; END'",
        "DROP FUNCTION audit_append(text)",
        "SET session_replication_role = replica",
        "SET ROLE nebula",
        "UPDATE alembic_version SET version_num = 'x'",
    ],
)
async def test_the_program_s_own_role_cannot_change_the_log(
    settings: Settings, write: Write, verified: Verified, statement: str
) -> None:
    await write(2)
    async with Database(settings.database_url) as program:
        with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
            async with program.session() as session:
                await session.execute(text(statement))
        assert await may_alter(program) is None
        async with program.session() as session:
            await Audit(program).append(session, LINE)
    assert ((await verified()).lines, (await verified()).intact) == (3, True)


async def test_nobody_puts_a_table_of_their_own_before_the_log(
    settings: Settings, write: Write, verified: Verified
) -> None:
    await write(1)
    async with Database(settings.database_url) as program, program.session() as session:
        await session.execute(text("CREATE TEMP TABLE audit_log (LIKE public.audit_log)"))
        await session.execute(text("CREATE TEMP TABLE audit_head (LIKE public.audit_head)"))
        await session.execute(text("SET LOCAL search_path = pg_temp, public"))
        await Audit(program).append(session, LINE)
    assert (await verified()).lines == 2


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET payload = ''", "DELETE FROM audit_log"]
)
async def test_an_owner_does_not_change_a_line_by_accident(
    write: Write, database: Database, statement: str
) -> None:
    await write(2)
    with pytest.raises(DBAPIError, match="append-only"):
        async with database.session() as session:
            await session.execute(text(statement))


async def test_an_owner_at_work_is_told_of(write: Write, verified: Verified) -> None:
    await write(1)
    report = await verified()
    assert report.intact and "'nebula' could alter the log" in report.notes[0]


async def test_lines_written_at_once_make_one_chain(
    audit: Audit, database: Database, verified: Verified
) -> None:
    async def write() -> None:
        async with database.session() as session:
            await audit.append(session, LINE)

    await asyncio.gather(*[write() for _ in range(20)])
    report = await verified()
    assert (report.lines, report.intact) == (20, True)


@pytest.mark.parametrize("said", ["a\x00b", "\\u0000", "naïve 🎛 \u202e", "\ud800", '"}', "\n"])
async def test_any_text_can_be_written_and_found(
    audit: Audit, database: Database, verified: Verified, said: str
) -> None:
    async with database.session() as session:
        await audit.append(session, {**LINE, "detail": {"arguments": {"name": said}}})
    report = await verified()
    assert (report.lines, report.problems) == (1, [])
    kept = said.replace("\x00", "\ufffd").replace("\ud800", "?")
    (found,) = await audit.search(Wanted(text=kept))
    assert found.detail["arguments"]["name"] == kept


async def test_a_rolled_back_line_leaves_no_hole(
    audit: Audit, write: Write, database: Database, verified: Verified
) -> None:
    await write(1)
    with pytest.raises(ZeroDivisionError):
        async with database.session() as session:
            await audit.append(session, LINE)
            raise ZeroDivisionError
    await write(1)
    report = await verified()
    assert (report.lines, report.intact) == (2, True)


async def test_lines_are_found_by_who_what_where_when_and_by_their_text(
    audit: Audit, database: Database
) -> None:
    now = datetime.now(UTC)
    told: list[dict[str, object]] = [
        {**LINE, "session_id": "s1", "detail": {"arguments": {"service": "50%_Off"}}},
        {**LINE, "principal": "bob", "outcome": "permission_denied"},
        {
            **LINE,
            "tool": "gpu_status",
            "at": (now - timedelta(days=2)).isoformat(timespec="milliseconds"),
        },
    ]
    async with database.session() as session:
        for line in told:
            await audit.append(session, line)

    async def found(**wanted: object) -> list[int]:
        return [line.seq for line in await audit.search(Wanted.model_validate(wanted))]

    assert await found() == [3, 2, 1]
    assert await found(principal="bob") == [2]
    assert await found(tool="gpu_status") == [3]
    assert await found(session_id="s1") == [1]
    assert await found(outcome="permission_denied") == [2]
    assert await found(since=now - timedelta(days=1)) == [2, 1]
    assert await found(until=now - timedelta(days=1)) == [3]
    assert await found(text="50%_off") == [1]
    assert await found(text="50x") == []
    assert await found(before=3) == [2, 1]
    assert [line.seq for line in await audit.search(Wanted(before=3), limit=1)] == [2]
