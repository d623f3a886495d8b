"""The queue that wakes workers: procrastinate, in a schema of its own beside our tables.

A row of the queue only says "look at this job": the job's record decides whether it may run. So
a row that is lost, doubled or late costs time and never a job.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from procrastinate import App, PsycopgConnector
from procrastinate.schema import SchemaManager
from psycopg import AsyncConnection, sql
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

SCHEMA = "procrastinate"
QUEUE = "jobs"
TASK = "nebula.jobs.run"
_LOCK = 0x6A6F6273  # an advisory lock: one process sets the schema up at a time


def row_of(job_id: str, priority: str, at: str) -> str:
    """Return the SQL that makes a row of the queue and gives its number."""
    return (
        f"({SCHEMA}.procrastinate_defer_jobs_v1(ARRAY[ROW('{QUEUE}', '{TASK}', {priority}, "
        f"NULL, NULL, jsonb_build_object('job_id', {job_id}), {at})"
        f"::{SCHEMA}.procrastinate_job_to_defer_v1]))[1]"
    )


_LATER = "CASE WHEN :delay > 0 THEN clock_timestamp() + make_interval(secs => :delay) END"
_ENQUEUE = text(
    f"""
    UPDATE jobs SET queue_id = {row_of("id", "priority", _LATER)},
        queued_at = clock_timestamp() + make_interval(secs => :delay)
    WHERE id = :job_id AND state = 'queued'
    RETURNING id
    """  # noqa: S608 - only our own constants
)
_FORGET = text(
    f"DELETE FROM {SCHEMA}.procrastinate_jobs q USING jobs j "  # noqa: S608
    "WHERE j.id = :job_id AND q.id = j.queue_id AND q.status = 'todo'"
)
_PRIORITY = text(
    f"UPDATE {SCHEMA}.procrastinate_jobs q SET priority = :priority FROM jobs j "  # noqa: S608
    "WHERE j.id = :job_id AND q.id = j.queue_id AND q.status = 'todo'"
)


async def enqueue(session: AsyncSession, job_id: str, *, delay_seconds: float = 0.0) -> bool:
    """Put a queued job before the workers, in the caller's transaction; say whether it was one.

    An earlier row of the same job starts nothing any more.
    """
    done = await session.execute(_ENQUEUE, {"job_id": job_id, "delay": delay_seconds})
    return done.scalar_one_or_none() is not None


async def forget(session: AsyncSession, job_id: str) -> None:
    """Take a waiting job's row out of the queue."""
    await session.execute(_FORGET, {"job_id": job_id})


async def set_priority(session: AsyncSession, job_id: str, priority: int) -> None:
    """Move a waiting job's row in the queue."""
    await session.execute(_PRIORITY, {"job_id": job_id, "priority": priority})


def transport(conninfo: str, *, connections: int) -> App:
    """Return procrastinate over a pool of its own; nothing connects before it is opened."""
    app = App(
        connector=PsycopgConnector(
            conninfo=conninfo,
            min_size=1,
            max_size=connections,
            timeout=5,
            reconnect_timeout=2,
            kwargs={"connect_timeout": 5, "application_name": "nebula-queue"},
            configure=_configure,
        )
    )
    # The library watches its listener and its heartbeat only until the first of its side tasks
    # ends, and the one for periodic tasks ends at once when there are none.
    app.periodic(cron="0 0 1 1 *")(app.task(name="nebula.jobs.new_year", queue=QUEUE)(_nothing))
    return app


@asynccontextmanager
async def opened(queue: App) -> AsyncIterator[None]:
    """Keep a transport open while the block runs."""
    try:
        async with queue.open_async():
            yield
    finally:
        # What is stopped while it opens has begun its pool, which the library then forgets.
        await queue.close_async()


async def _nothing(timestamp: int) -> None:
    """Do what there is to do on New Year's Day."""
    del timestamp


async def _configure(connection: AsyncConnection[Any]) -> None:
    # Not by `kwargs`: procrastinate opens its listener with those and `autocommit` once more.
    await connection.set_autocommit(True)
    # The queue's rows are hints: what a crash of the server forgets of them is made anew.
    await connection.execute(f"SET search_path TO {SCHEMA}; SET synchronous_commit TO off")


async def set_up_schema(conninfo: str) -> None:
    """Create or update procrastinate's tables; safe at the same time from several processes."""
    async with await AsyncConnection.connect(
        conninfo, autocommit=True, options=f"-c search_path={SCHEMA}"
    ) as connection:
        here = version("procrastinate")
        if await _version(connection) == here:
            return
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            written = await _version(connection)
            if written == here:
                return
            if written is None:
                await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            for step in await asyncio.to_thread(_steps, written):
                await connection.execute(step)
            await _pin_functions(connection)
            said = sql.SQL("COMMENT ON SCHEMA {} IS {}")
            await connection.execute(said.format(sql.Identifier(SCHEMA), sql.Literal(here)))


async def _version(connection: AsyncConnection[Any]) -> str | None:
    """Return the version of the library that the schema was made for."""
    found = await connection.execute(
        "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s", [SCHEMA]
    )
    row = await found.fetchone()
    return row[0] if row else None


def _steps(written: str | None) -> list[bytes]:
    """Return what makes the schema, or what brings it from a written version to this one."""
    if written is None:
        return [SchemaManager.get_schema().encode()]
    files = sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))
    newer = [file for file in files if _numbers(file.name.split("_")[0]) > _numbers(written)]
    return [file.read_bytes() for file in newer]


def _numbers(dotted: str) -> tuple[int, ...]:
    return tuple(int(part) for part in dotted.split(".")[:3])


async def _pin_functions(connection: AsyncConnection[Any]) -> None:
    """Let the library's functions find their tables, whoever calls them from whichever schema."""
    found = await connection.execute(
        "SELECT p.oid::regprocedure::text FROM pg_proc p "
        "JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = %s",
        [SCHEMA],
    )
    for (signature,) in await found.fetchall():
        await connection.execute(f"ALTER FUNCTION {signature} SET search_path = {SCHEMA}".encode())
