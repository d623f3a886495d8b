"""Brings a database to the newest schema: one Alembic branch per package, found by its folder."""

import asyncio
import importlib
from pathlib import Path

import psycopg
import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, NullPool, create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from nebula.db.base import Base
from nebula.db.engine import plain_url
from nebula.db.errors import translated
from nebula.db.roles import let_work
from nebula.errors import UpstreamUnavailable
from nebula.packages import checkout, folders_named, modules_named

_LOCK = 0x6E656275  # an advisory lock: one process migrates at a time
_FIRST = "db@head"  # creates the extensions that other branches need

# Schemas whose tables are set up by their own libraries: an async function of the database's
# address, in a module of a higher layer (so named, not imported).
_LIBRARIES = {
    "langgraph": ("memory.checkpoints", "set_up_schema"),
    "procrastinate": ("nebula.jobs.queue", "set_up_schema"),
}

_log = structlog.get_logger(__name__)


async def migrate(url: str, *, app: str = "") -> None:
    """Apply every missing migration, then let the libraries set up their own schemas.

    `app` is the address of the role that the program works as, if it is another one.

    Raises:
        UpstreamUnavailable: when the database does not answer or lacks an extension.
    """
    if await asyncio.to_thread(upgrade, url):
        return
    for schema, (module, function) in _LIBRARIES.items():
        if _exists(module):
            set_up = getattr(importlib.import_module(module), function)
            await set_up(plain_url(url))
            _log.debug("schema_set_up", schema=schema)
    await let_work(url, app or url)


def upgrade(url: str) -> bool:
    """Apply every missing migration of our own branches.

    Say whether that was all: this role may make nothing, and its owner has made everything.
    """
    try:
        with _connection(url) as connection:
            if at_head(connection):
                return _is_made_by_others(connection)
            connection.exec_driver_sql(f"SELECT pg_advisory_lock({_LOCK})")
            connection.commit()
            for target in (_FIRST, "heads"):
                command.upgrade(config(connection), target)
                # With nothing to apply, looking has begun a transaction that the next one would
                # take for its caller's, and leave open.
                connection.commit()
            return False
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None)
        if isinstance(cause, psycopg.errors.FeatureNotSupported | psycopg.errors.UndefinedFile):
            raise UpstreamUnavailable(
                f"The database lacks an extension: {cause}",
                hint="Install pgvector on the PostgreSQL that DATABASE_URL names.",
            ) from error
        if isinstance(cause, psycopg.errors.InsufficientPrivilege):
            raise UpstreamUnavailable(
                f"The database account lacks a right: {cause}",
                hint="Let a superuser run: CREATE EXTENSION vector; CREATE EXTENSION pg_trgm; "
                "CREATE EXTENSION unaccent.",
            ) from error
        seen = translated(error)
        if seen is None:
            raise
        raise seen from error


async def is_current(url: str) -> bool:
    """Say whether a database has every migration of this checkout."""

    def look() -> bool:
        with _connection(url) as connection:
            return at_head(connection)

    return await asyncio.to_thread(look)


def at_head(connection: Connection) -> bool:
    """Say whether the database has every migration of this checkout."""
    applied = set(MigrationContext.configure(connection).get_current_heads())
    connection.rollback()
    return applied == set(script().get_heads())


def script() -> ScriptDirectory:
    """Return the migrations of every package."""
    return ScriptDirectory.from_config(config(None))


def metadata() -> MetaData:
    """Import every package's `models.py` and return the tables they declare."""
    for module in modules_named("models"):
        importlib.import_module(module)
    return Base.metadata


def config(connection: Connection | None) -> Config:
    """Return Alembic's configuration over every package's `migrations` folder."""
    made = Config()
    made.set_main_option("script_location", _escaped(Path(__file__).parent / "environment"))
    made.set_main_option("path_separator", "newline")
    folders = "\n".join(_escaped(folder) for folder in folders_named("migrations"))
    made.set_main_option("version_locations", folders)
    made.attributes["connection"] = connection
    return made


def _connection(url: str) -> Connection:
    address = make_url(plain_url(url)).set(drivername="postgresql+psycopg")
    return create_engine(address, poolclass=NullPool, connect_args={"connect_timeout": 5}).connect()


def _is_made_by_others(connection: Connection) -> bool:
    made = "SELECT count(*) FROM pg_namespace WHERE nspname = ANY(%(schemas)s)"
    query = f"SELECT has_database_privilege(current_database(), 'CREATE'), ({made})"
    may, there = connection.exec_driver_sql(query, {"schemas": list(_LIBRARIES)}).one()
    return not may and there == len(_LIBRARIES)


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")


def _exists(module: str) -> bool:
    return checkout().joinpath(*module.split(".")).with_suffix(".py").exists()
