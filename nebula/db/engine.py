"""The program's database: sessions that commit on success, errors translated once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any

from psycopg import Error as DriverError
from sqlalchemy import event, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.pool import ConnectionPoolEntry

from nebula.db.bare import Bare, BareConnections
from nebula.db.documents import storable_json
from nebula.db.errors import connection_lost, translated
from nebula.db.liveness import drop_closed_connections
from nebula.errors import InvalidInput, OutcomeUnknown

_CONNECT_SECONDS = 5
# Long, because waiting in line is not an outage: when the server is away, connecting fails fast.
_POOL_WAIT_SECONDS = 60
_SERVER_SIDE = {
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
    "timezone": "UTC",
}


class Database:
    """A pool of connections to PostgreSQL; it recovers by itself when the server was away."""

    def __init__(self, url: str, *, pool_size: int = 10, application_name: str = "nebula") -> None:
        """Take an address `postgresql://…`; nothing connects before it is used."""
        self.conninfo = plain_url(url)
        options = " ".join(f"-c {key}={value}" for key, value in _SERVER_SIDE.items())
        theirs = make_url(self.conninfo).query.get("options", "")
        connect: dict[str, Any] = {
            "connect_timeout": _CONNECT_SECONDS,
            "application_name": application_name,
            "options": f"{options} {theirs}".strip(),
        }
        self.engine: AsyncEngine = create_async_engine(
            make_url(self.conninfo).set(drivername="postgresql+psycopg"),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=_POOL_WAIT_SECONDS,
            json_serializer=storable_json,
            pool_recycle=1800,
            connect_args=connect,
        )
        drop_closed_connections(self.engine)
        self._closed = False
        event.listen(self.engine.sync_engine.pool, "checkin", self._given_back)
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)
        self._bare = BareConnections(self.conninfo, most=pool_size, **connect)

    async def open(self) -> None:
        """Connect once, so that a wrong address shows at the start.

        Raises:
            UpstreamUnavailable: when the database does not answer.
        """
        self._closed = False
        self._bare.open()
        await self.ping()

    async def close(self) -> None:
        """Close every connection; one that is still lent closes when it is given back."""
        self._closed = True
        await self._bare.close()
        await self.engine.dispose()

    async def __aenter__(self) -> "Database":
        """Open the database."""
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the database."""
        await self.close()

    def _given_back(self, _driver: Any, record: ConnectionPoolEntry) -> None:
        """Close what comes back late: the engine forgets the pool that it belongs to."""
        if self._closed:
            record.invalidate()

    async def ping(self) -> None:
        """Raise UpstreamUnavailable when the database does not answer."""
        async with self.session() as session:
            await session.execute(text("SELECT 1"))

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """Open a session that commits on success and rolls back on any error.

        Raises:
            UpstreamUnavailable: when the database is down; nothing was saved.
            OutcomeUnknown: when it went away in the middle of the commit.
        """
        session = self._sessions()
        try:
            try:
                yield session
            except (SQLAlchemyError, DriverError) as error:
                seen = translated(error)
                if seen is None:
                    raise
                raise seen from error
            await _commit(session)
        finally:
            await asyncio.shield(_close(session))

    @asynccontextmanager
    async def bare(self, *, writes: bool = True) -> AsyncIterator[Bare]:
        """Lend a connection for statements that are transactions of their own.

        For what every turn or search does; a session is more comfortable, and dearer.

        Raises:
            UpstreamUnavailable: when the database is down; nothing was saved.
            OutcomeUnknown: when it went away after something may have been written.
        """
        sent = False
        try:
            async with self._bare.lend() as connection:
                sent = writes
                yield connection
        except DriverError as error:
            if sent and connection_lost(error):
                raise _unknown() from error
            seen = translated(error)
            if seen is None:
                raise
            raise seen from error


async def _close(session: AsyncSession) -> None:
    """Give a session's connection back; one that is lost has nothing left to roll back."""
    try:
        await session.close()
    except SQLAlchemyError as error:
        if not connection_lost(error):
            raise


async def _commit(session: AsyncSession) -> None:
    try:
        await session.flush()
    except SQLAlchemyError as error:
        seen = translated(error)
        if seen is None:
            raise
        raise seen from error
    try:
        await session.commit()
    except SQLAlchemyError as error:
        if connection_lost(error):
            raise _unknown() from error
        seen = translated(error)
        if seen is None:
            raise
        raise seen from error


def _unknown() -> OutcomeUnknown:
    return OutcomeUnknown(
        "The database went away while saving; it may or may not be saved",
        hint="Look before trying again.",
    )


def plain_url(url: str) -> str:
    """Return an address as psycopg reads it, without the driver that SQLAlchemy adds."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.split("+")[0] not in {"postgresql", "postgres"}:
        raise InvalidInput(
            "DATABASE_URL is not an address of PostgreSQL",
            hint="It looks like postgresql://user:password@host:5432/database.",
        )
    return f"postgresql://{rest}"
