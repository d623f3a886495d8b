import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from nebula.db.bare import bare_in
from nebula.db.engine import Database
from nebula.errors import InvalidInput, TimedOut, UpstreamUnavailable


async def test_a_session_commits_when_it_ends_well(database: Database) -> None:
    async with database.session() as session:
        await session.execute(text("CREATE TABLE t (n int PRIMARY KEY)"))
        await session.execute(text("INSERT INTO t VALUES (1)"))
    async with database.session() as session:
        assert (await session.execute(text("SELECT n FROM t"))).scalar_one() == 1


async def test_a_session_rolls_back_on_any_error(database: Database) -> None:
    async with database.session() as session:
        await session.execute(text("CREATE TABLE t (n int PRIMARY KEY)"))
    with pytest.raises(RuntimeError):
        async with database.session() as session:
            await session.execute(text("INSERT INTO t VALUES (1)"))
            raise RuntimeError("stop")
    async with database.session() as session:
        assert (await session.execute(text("SELECT count(*) FROM t"))).scalar_one() == 0


async def test_a_broken_constraint_is_ours_to_handle_and_is_not_hidden(database: Database) -> None:
    async with database.session() as session:
        await session.execute(text("CREATE TABLE t (n int PRIMARY KEY)"))
        await session.execute(text("INSERT INTO t VALUES (1)"))
    with pytest.raises(IntegrityError):
        async with database.session() as session:
            await session.execute(text("INSERT INTO t VALUES (1)"))


async def test_connections_killed_by_the_server_are_replaced_without_an_error(
    database: Database,
) -> None:
    async with database.session() as session:
        await session.execute(text("SELECT 1"))
    async with Database(database.conninfo) as other, other.session() as session:
        await session.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    async with database.session() as session:
        assert (await session.execute(text("SELECT 1"))).scalar_one() == 1


async def test_a_connection_lost_in_the_middle_says_the_database_does_not_answer(
    database: Database,
) -> None:
    with pytest.raises(UpstreamUnavailable, match="does not answer"):
        async with database.session() as session:
            mine = (await session.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            async with Database(database.conninfo) as other, other.session() as killer:
                await killer.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": mine})
            await session.execute(text("SELECT 1"))


async def test_a_database_that_is_not_there_says_so() -> None:
    database = Database("postgresql://nobody:wrong@127.0.0.1:1/none")
    with pytest.raises(UpstreamUnavailable, match="does not answer"):
        await database.open()
    await database.close()


async def test_a_slow_statement_times_out_with_its_own_error(database: Database) -> None:
    with pytest.raises(TimedOut):
        async with database.session() as session:
            await session.execute(text("SET LOCAL statement_timeout = '20ms'"))
            await session.execute(text("SELECT pg_sleep(5)"))


def test_an_address_of_another_database_is_refused_with_an_example() -> None:
    with pytest.raises(InvalidInput) as caught:
        Database("mysql://root@localhost/db")
    assert "postgresql://" in caught.value.hint


async def test_a_connection_given_back_after_the_end_is_closed(database_url: str) -> None:
    database = await Database(database_url).__aenter__()
    async with database.session() as session, database.bare() as bare:
        lent = [(await bare_in(session))._connection, bare._connection]
        await database.close()
        assert not any(connection.closed for connection in lent)
    assert all(connection.closed for connection in lent)
