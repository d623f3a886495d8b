"""Where LangGraph keeps the threads: its own schema, on a pool of its own."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection, AsyncCursor, OperationalError
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from nebula.db.errors import translated
from nebula.db.liveness import has_something_to_read
from nebula.errors import UpstreamUnavailable

SCHEMA = "langgraph"
_LOCK = 0x6C67  # an advisory lock: one process sets the schema up at a time

_MORE_THAN_ONE = (
    "SELECT thread_id FROM checkpoints WHERE thread_id = ANY(%s)"
    " GROUP BY thread_id HAVING count(*) > 1"
)

BEGINS = "__begins"
"""In a run's configuration: the thread begins with it. LangGraph stores no key of this form."""

Pool = AsyncConnectionPool[AsyncConnection[DictRow]]


class Checkpoints(AsyncPostgresSaver):
    """LangGraph's saver, able to use every connection of its pool at once."""

    def __init__(self, pool: Pool) -> None:
        """Take an open pool whose connections look into the schema."""
        super().__init__(pool)
        # The library's lock lets one call through at a time, for the sake of a single connection.
        self.lock = asyncio.Semaphore(pool.max_size)  # type: ignore[assignment]

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint; a thread that begins now has none to look for."""
        asked = config["configurable"]
        begins = asked.get(BEGINS) and not asked.get("checkpoint_id")
        # Sub-agents run under the same configuration, each in a namespace of its own.
        if begins and not asked.get("checkpoint_ns"):
            return None
        return await super().aget_tuple(config)

    async def keep_latest(self, thread_ids: Iterable[str]) -> None:
        """Keep only each thread's latest checkpoint; a prune that lost a race is left to the next."""
        # Most threads end with their first turn; pruning one takes nine statements.
        async with self._cursor() as cursor:
            await cursor.execute(_MORE_THAN_ONE, (list(thread_ids),))
            grown = [row["thread_id"] for row in await cursor.fetchall()]
        try:
            await self.aprune(grown, strategy="keep_latest")
        except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected):
            return

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[AsyncCursor[DictRow]]:
        try:
            async with super()._cursor(pipeline=pipeline) as cursor:
                yield cursor
        except PoolTimeout as error:
            raise UpstreamUnavailable("The database does not answer") from error
        except psycopg.Error as error:
            seen = translated(error)
            if seen is None:
                raise
            raise seen from error


@asynccontextmanager
async def open_checkpoints(conninfo: str, *, connections: int = 8) -> AsyncIterator[Checkpoints]:
    """Open the saver over a database whose schema is set up."""
    pool: Pool = AsyncConnectionPool(
        conninfo,
        kwargs={
            "autocommit": True,
            "row_factory": dict_row,
            "connect_timeout": 5,
            "options": f"-c search_path={SCHEMA}",
        },
        min_size=1,
        max_size=connections,
        timeout=10,
        check=_still_open,
        open=False,
        name="checkpoints",
    )
    async with pool:
        yield Checkpoints(pool)


async def _still_open(connection: AsyncConnection[DictRow]) -> None:
    """Refuse a connection that the server closed; asking it would cost a round trip."""
    if connection.closed or has_something_to_read(connection.fileno()):
        raise OperationalError("the server closed the connection")


async def set_up_schema(conninfo: str) -> None:
    """Create or update LangGraph's tables; safe to run at the same time from several processes."""
    async with await AsyncConnection.connect(
        conninfo, autocommit=True, row_factory=dict_row, options=f"-c search_path={SCHEMA}"
    ) as connection:
        await _locked(connection)
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        await AsyncPostgresSaver(connection).setup()


async def _locked(connection: AsyncConnection[DictRow]) -> None:
    """Take the lock by asking again: a waiting query would block CREATE INDEX CONCURRENTLY."""
    while True:
        cursor = await connection.execute("SELECT pg_try_advisory_lock(%s) AS got", (_LOCK,))
        row = await cursor.fetchone()
        if row is not None and row["got"]:
            return
        await asyncio.sleep(0.1)
