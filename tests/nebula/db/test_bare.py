"""Bare connections: what is lent is whole, and a lost one says what may have happened."""

import asyncio
import contextlib
import os
import socket

import psycopg
import pytest
from sqlalchemy import text

from nebula.db.bare import Bare, bare_in
from nebula.db.engine import Database
from nebula.errors import InvalidInput, NebulaError, OutcomeUnknown, TimedOut, UpstreamUnavailable

PID = text("SELECT pg_backend_pid()")
COUNT = text("SELECT count(*) FROM t")


async def table(database: Database) -> None:
    async with database.bare() as db:
        await db.execute(text("CREATE TABLE t (n int PRIMARY KEY)"))


async def kill(database: Database, pid: int) -> None:
    async with database.session() as session:
        await session.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})


def cut(descriptor: int) -> None:
    with socket.socket(fileno=os.dup(descriptor)) as wire:
        wire.shutdown(socket.SHUT_RDWR)


async def pid_of(db: Bare) -> int:
    return int(await db.scalar(PID, {}))


async def test_each_statement_is_saved_at_once(database: Database) -> None:
    await table(database)
    with pytest.raises(RuntimeError):
        async with database.bare() as db:
            await db.execute(text("INSERT INTO t VALUES (:n)"), {"n": 1})
            raise RuntimeError("stop")
    async with database.bare() as db:
        assert await db.scalar(COUNT, {}) == 1


async def test_a_transaction_is_saved_together_or_not_at_all(database: Database) -> None:
    await table(database)
    with pytest.raises(psycopg.errors.UniqueViolation):
        async with database.bare() as db, db.transaction():
            await db.execute(text("INSERT INTO t VALUES (1)"))
            await db.execute(text("INSERT INTO t VALUES (1)"))
    async with database.bare() as db:
        assert await db.scalar(COUNT, {}) == 0


async def test_a_connection_is_used_again(database: Database) -> None:
    async with database.bare() as db:
        first = await pid_of(db)
    async with database.bare() as db:
        assert await pid_of(db) == first


async def test_a_connection_that_the_server_closed_is_replaced_without_an_error(
    database: Database,
) -> None:
    async with database.bare() as db:
        first = await pid_of(db)
    await kill(database, first)
    async with database.bare() as db:
        assert await pid_of(db) != first


@pytest.mark.parametrize(("writes", "seen"), [(True, OutcomeUnknown), (False, UpstreamUnavailable)])
async def test_a_wire_that_is_cut_leaves_open_whether_a_write_happened(
    database: Database, writes: bool, seen: type[NebulaError]
) -> None:
    with pytest.raises(seen):
        async with database.bare(writes=writes) as db:
            cut((await db.execute(PID)).connection.fileno())
            await db.execute(text("SELECT 1"))


async def test_a_statement_that_the_server_refused_to_finish_did_not_happen(
    database: Database,
) -> None:
    with pytest.raises(UpstreamUnavailable, match="does not answer"):
        async with database.bare() as db:
            await kill(database, await pid_of(db))
            await db.execute(text("SELECT 1"))


async def test_a_cancelled_statement_does_not_spoil_the_next_one(database: Database) -> None:
    async def slow() -> None:
        async with database.bare() as db:
            await db.execute(text("SELECT pg_sleep(30)"))

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(slow(), 0.2)
    async with database.bare() as db:
        assert await db.scalar(text("SELECT 1"), {}) == 1


async def test_more_askers_than_connections_wait_for_each_other(database: Database) -> None:
    async def ask(number: int) -> int:
        async with database.bare() as db:
            return int(await db.scalar(text("SELECT CAST(:n AS int)"), {"n": number}))

    assert await asyncio.gather(*map(ask, range(50))) == list(range(50))


async def test_errors_are_translated_as_in_a_session(database: Database) -> None:
    with pytest.raises(TimedOut):
        async with database.bare() as db, db.transaction():
            await db.execute(text("SET LOCAL statement_timeout = '20ms'"))
            await db.execute(text("SELECT pg_sleep(5)"))
    with pytest.raises(InvalidInput):
        async with database.bare() as db:
            await db.scalar(text("SELECT CAST(:word AS text)"), {"word": "a\x00b"})


async def test_a_database_that_is_not_there_says_that_nothing_was_saved() -> None:
    database = Database("postgresql://nobody:wrong@127.0.0.1:1/none")
    with pytest.raises(UpstreamUnavailable, match="does not answer"):
        async with database.bare():
            pass
    await database.close()


async def test_a_connection_that_breaks_below_a_session_is_told_as_an_outage(
    database: Database,
) -> None:
    """The driver's error does not pass the session, which then finds nothing to roll back."""
    with pytest.raises(UpstreamUnavailable):
        async with database.session() as session:
            db = await bare_in(session)
            cut(db._connection.fileno())
            await db.scalar(PID, {})
    async with database.session() as session:
        assert await session.scalar(PID), "the next one has a whole connection"


async def test_an_error_of_ours_is_told_although_its_connection_broke(database: Database) -> None:
    with pytest.raises(InvalidInput, match="stop"):
        async with database.session() as session:
            db = await bare_in(session)
            cut(db._connection.fileno())
            with contextlib.suppress(psycopg.Error):
                await db.scalar(PID, {})
            raise InvalidInput("stop")
