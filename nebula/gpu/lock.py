"""One change at a time on a node, over all processes: a PostgreSQL advisory lock."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg import errors as pg

from nebula.errors import Conflict, UpstreamUnavailable


def lock_key(node: str) -> int:
    """Return the signed 64-bit key of a node's lock, the same in every process."""
    digest = hashlib.sha256(f"nebula.gpu:{node}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


@asynccontextmanager
async def node_lock(conninfo: str, node: str, *, seconds: float) -> AsyncIterator[None]:
    """Hold a node's lock; it is given up even when this process dies.

    A connection of its own holds it: a load takes minutes, and the pool's are for short work.

    Raises:
        Conflict: when another change still holds it after `seconds`.
        UpstreamUnavailable: when the database does not answer.
    """
    try:
        connection = await psycopg.AsyncConnection.connect(
            conninfo, autocommit=True, connect_timeout=5
        )
    except psycopg.Error as error:
        raise UpstreamUnavailable("The database does not answer") from error
    try:
        await _take(connection, node, seconds)
        yield
    finally:
        # Closing gives the lock back, whatever happened meanwhile.
        await connection.close()


async def _take(connection: psycopg.AsyncConnection, node: str, seconds: float) -> None:
    try:
        await connection.execute(
            "SELECT set_config('lock_timeout', %s, false)", (f"{max(1, int(seconds * 1000))}ms",)
        )
        await connection.execute("SELECT pg_advisory_lock(%s)", (lock_key(node),))
    except pg.LockNotAvailable as error:
        raise Conflict(
            f"Another change of the GPU of {node} is still running",
            hint="Look at gpu_status, and try again when it is done.",
        ) from error
    except psycopg.Error as error:
        raise UpstreamUnavailable("The database does not answer") from error
