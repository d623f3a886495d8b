import asyncio

from alembic import command
from sqlalchemy import NullPool, create_engine, make_url, text

from nebula.db.drift import differences, split_branches
from nebula.db.engine import Database
from nebula.db.migrate import at_head, config, migrate
from tests.database import TestServer


async def test_an_empty_database_reaches_every_head_and_a_second_run_changes_nothing(
    postgres: TestServer,
) -> None:
    with postgres.empty() as url:
        await migrate(url)
        await migrate(url)
        async with Database(url) as database, database.session() as session:
            found = await session.execute(text("SELECT extname FROM pg_extension"))
            assert {"vector", "pg_trgm", "unaccent"} <= set(found.scalars())


async def test_a_database_of_an_earlier_version_gets_what_is_new(postgres: TestServer) -> None:
    with postgres.empty() as url:
        address = make_url(url).set(drivername="postgresql+psycopg")
        engine = create_engine(address, poolclass=NullPool)
        for target in ("db@head", "auth_0001"):
            with engine.connect() as connection:
                command.upgrade(config(connection), target)
        await migrate(url)
        with engine.connect() as connection:
            assert at_head(connection)


async def test_processes_that_migrate_at_once_do_not_collide(postgres: TestServer) -> None:
    with postgres.empty() as url:
        await asyncio.gather(*(migrate(url) for _ in range(4)))


def test_the_migrations_make_exactly_the_tables_the_code_declares(database_url: str) -> None:
    assert split_branches() == []
    address = make_url(database_url).set(drivername="postgresql+psycopg")
    with create_engine(address, poolclass=NullPool).connect() as connection:
        assert at_head(connection)
        assert differences(connection) == []
