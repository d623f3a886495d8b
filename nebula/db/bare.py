"""Bare connections, for the few statements that every turn and every search makes.

A statement in a session costs over a millisecond of CPU, most of it spent on objects around it;
on a bare connection it costs a seventh of that. There is no ORM, and no transaction around a
single statement.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache
from typing import Any, Protocol

from psycopg import AsyncConnection, AsyncCursor, AsyncTransaction
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.db.liveness import has_something_to_read

_DIALECT = PGDialect_psycopg()  # type: ignore[no-untyped-call]


class Statements(Protocol):
    """Where a statement can be run: a session, or a bare connection."""

    async def scalar(self, statement: TextClause, values: Mapping[str, Any], /) -> Any:
        """Run a statement and return the first value of its first row; None without a row."""
        ...


class Bare:
    """A connection where each statement is a transaction of its own, outside `transaction()`."""

    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        """Take a connection in autocommit mode."""
        self._connection = connection

    async def execute(
        self, statement: TextClause, values: Mapping[str, Any] | None = None, /
    ) -> AsyncCursor[TupleRow]:
        """Run a statement and return the cursor over its rows."""
        return await self._connection.execute(_sql(statement), values or {})

    async def scalar(self, statement: TextClause, values: Mapping[str, Any], /) -> Any:
        """Run a statement and return the first value of its first row; None without a row."""
        row = await (await self.execute(statement, values)).fetchone()
        return None if row is None else row[0]

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Let what the block runs be one transaction, sent without waiting for each answer."""
        async with self._connection.pipeline(), self._connection.transaction():
            yield

    def transaction(self) -> AbstractAsyncContextManager[AsyncTransaction]:
        """Let what the block runs be saved together, or not at all."""
        return self._connection.transaction()


async def bare_in(session: AsyncSession) -> Bare:
    """Return the connection under a session: what runs on it is part of its transaction."""
    connection = await session.connection()
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    return Bare(driver)


class BareConnections:
    """Lends bare connections, and keeps those that are whole for the next one."""

    def __init__(self, conninfo: str, *, most: int, **options: Any) -> None:
        """Take how to connect, and how many connections there may be; none is made yet."""
        self._conninfo = conninfo
        self._options = options
        self._idle: list[AsyncConnection[TupleRow]] = []
        self._slots = asyncio.Semaphore(most)
        self._kept = True

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Bare]:
        """Lend a connection."""
        async with self._slots:
            connection = await self._taken()
            try:
                yield Bare(connection)
            finally:
                whole = connection.info.transaction_status is TransactionStatus.IDLE
                if whole and self._kept:
                    self._idle.append(connection)
                else:
                    await connection.close()

    def open(self) -> None:
        """Keep what is given back."""
        self._kept = True

    async def close(self) -> None:
        """Close every connection that is not lent; what is lent closes when it is given back."""
        self._kept = False
        while self._idle:
            await self._idle.pop().close()

    async def _taken(self) -> AsyncConnection[TupleRow]:
        while self._idle:
            connection = self._idle.pop()
            if not (connection.closed or has_something_to_read(connection.fileno())):
                return connection
            await connection.close()
        return await AsyncConnection.connect(self._conninfo, autocommit=True, **self._options)


@lru_cache(maxsize=128)
def _sql(statement: TextClause) -> bytes:
    """Write a statement as the driver reads it."""
    return str(statement.compile(dialect=_DIALECT)).encode()
