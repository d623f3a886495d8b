"""Exactly one scheduler per database: an advisory lock, held by a connection of its own.

A leader that dies loses its connection and with it the lock; the next one takes over. Should two
believe to lead for a moment, the ledger's transactions still let nothing go wrong.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import psycopg

_KEY: Final = int.from_bytes(hashlib.sha256(b"nebula.gpu.leader").digest()[:8], signed=True)


class Leadership:
    """The lock of this process, once it was won."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        """Take the connection that holds the lock."""
        self._connection = connection

    async def confirm(self) -> None:
        """See that the lock is still held; raises psycopg.Error when the connection is lost."""
        await self._connection.execute("SELECT 1")


@asynccontextmanager
async def leadership(conninfo: str, *, every: float) -> AsyncIterator[Leadership]:
    """Wait until this process leads, and lead while the block runs.

    Raises:
        psycopg.Error: when the database is away.
    """
    connection = await psycopg.AsyncConnection.connect(
        conninfo,
        autocommit=True,
        connect_timeout=5,
        application_name="nebula-gpu-leader",
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
    )
    try:
        while not await _won(connection):  # noqa: ASYNC110 - only the database can tell
            await asyncio.sleep(every)
        yield Leadership(connection)
    finally:
        await connection.close()


async def _won(connection: psycopg.AsyncConnection) -> bool:
    found = await connection.execute("SELECT pg_try_advisory_lock(%s)", (_KEY,))
    return await found.fetchone() == (True,)
