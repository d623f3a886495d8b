"""Forgets jobs that ended long ago: their record, log, result, and what was told of them."""

import asyncio

import structlog
from sqlalchemy import text

from nebula.db.engine import Database
from nebula.errors import NebulaError

log = structlog.get_logger(__name__)

_EVERY_SECONDS = 3600.0
_AT_ONCE = 500

# Two processes that look at once share the work. A result's artefacts are named in its row.
_FORGET = text(
    """
    WITH old AS (
        SELECT id FROM jobs
        WHERE finished_at < clock_timestamp() - make_interval(secs => :seconds)
        AND state NOT IN ('queued', 'running')
        ORDER BY finished_at LIMIT :most FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM jobs USING old WHERE jobs.id = old.id RETURNING jobs.id
    ), told AS (
        DELETE FROM events USING gone WHERE events.stream = 'job:' || gone.id
    ), streams AS (
        DELETE FROM event_streams USING gone WHERE event_streams.stream = 'job:' || gone.id
    )
    SELECT count(*) FROM gone
    """
)


async def forget_old(db: Database, days: float) -> int:
    """Delete every job that ended more than so many days ago; return how many there were."""
    forgotten = 0
    while True:
        async with db.session() as session:
            asked = {"seconds": days * 86_400, "most": _AT_ONCE}
            done = int(await session.scalar(_FORGET, asked) or 0)
        forgotten += done
        if done < _AT_ONCE:
            return forgotten


async def keep_forgetting(db: Database, days: float) -> None:
    """Forget old jobs every hour, for good; an outage of the database is waited for."""
    while True:
        try:
            if forgotten := await forget_old(db, days):
                log.info("old_jobs_forgotten", jobs=forgotten, days=days)
        except NebulaError as error:
            log.warning("old_jobs_kept", reason=str(error))
        await asyncio.sleep(_EVERY_SECONDS)
