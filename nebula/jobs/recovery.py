"""Finds what a crash left behind, and sets it going again."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.app import App
from nebula.jobs import queue
from nebula.jobs.moves import Run
from nebula.jobs.outcome import Again, after_loss
from nebula.jobs.pace import Pace
from nebula.jobs.record import claim_of
from nebula.jobs.runner import settle

APPLICATION = "nebula-worker-"
SUFFIX = 8
"""A worker's connections are named so, with the last letters of its id."""
_AT_ONCE = 100
_LOCK = 0x6A72  # an advisory lock: one worker looks at a time

_TRY_LOCK = text(f"SELECT pg_try_advisory_xact_lock({_LOCK})")

# A killed process has no connections any more; one that only got no time still has them.
_DEAD_WORKERS = text(
    f"""
    SELECT j.id FROM jobs j LEFT JOIN job_workers w ON w.id = j.worker AND (
        w.heartbeat_at > clock_timestamp() - make_interval(secs => :stalled)
        OR w.heartbeat_at > clock_timestamp() - make_interval(secs => :frozen) AND EXISTS (
            SELECT 1 FROM pg_stat_activity a WHERE a.datname = current_database()
            AND a.application_name = '{APPLICATION}' || right(w.id, {SUFFIX})
        )
    )
    WHERE j.state = 'running' AND w.id IS NULL LIMIT :most FOR UPDATE OF j SKIP LOCKED
    """  # noqa: S608 - only our own constants
)

# An approval that is gone, or that expired unseen, is an answer too. Of what else a job waits
# for, whoever ends that tells.
_ANSWERED = text(
    """
    SELECT j.id FROM jobs j LEFT JOIN approvals a ON a.id = j.waits_for
    WHERE starts_with(j.waits_for, 'apr_') AND j.state = 'queued'
    AND (a.id IS NULL OR a.state <> 'pending' OR a.expires_at <= clock_timestamp())
    LIMIT :most FOR UPDATE OF j SKIP LOCKED
    """
)

# A row that a live worker holds counts as there: that worker is about to claim the job.
_ROWLESS = text(
    f"""
    SELECT j.id FROM jobs j
    LEFT JOIN {queue.SCHEMA}.procrastinate_jobs q ON q.id = j.queue_id AND (
        q.status = 'todo' OR (q.status = 'doing' AND EXISTS (
            SELECT 1 FROM {queue.SCHEMA}.procrastinate_workers w WHERE w.id = q.worker_id
            AND w.last_heartbeat > clock_timestamp() - make_interval(secs => :stalled)
        ))
    )
    WHERE j.state = 'queued' AND q.id IS NULL
    AND j.queued_at < clock_timestamp() - make_interval(secs => :patience)
    LIMIT :most FOR UPDATE OF j SKIP LOCKED
    """  # noqa: S608 - only our own constants
)

_SWEEP = text(
    f"""
    DELETE FROM {queue.SCHEMA}.procrastinate_jobs q WHERE q.status <> 'todo' AND NOT EXISTS (
        SELECT 1 FROM {queue.SCHEMA}.procrastinate_workers w WHERE w.id = q.worker_id
        AND w.last_heartbeat > clock_timestamp() - make_interval(secs => :stalled)
    )
    """  # noqa: S608
)
_FORGET_WORKERS = text(
    "DELETE FROM job_workers WHERE heartbeat_at < clock_timestamp() - interval '10 minutes'"
)

_RUNNING = text("SELECT to_jsonb(jobs) FROM jobs WHERE id = :job_id AND state = 'running'")


async def recover(app: App, session: AsyncSession, pace: Pace) -> int:
    """Set going again whatever lost its worker or its row in the queue; return how many.

    One process looks at a time. Call it only from a worker whose own heartbeat has been written
    for a while: after an outage every heartbeat is old.
    """
    if not await session.scalar(_TRY_LOCK):
        return 0
    dead = {"stalled": pace.stalled, "frozen": pace.frozen, "most": _AT_ONCE}
    orphans = list(await session.scalars(_DEAD_WORKERS, dead))
    for job_id in orphans:
        await lose(app, session, job_id)
    limits = {"stalled": pace.stalled, "patience": pace.rowless, "most": _AT_ONCE}
    rowless = list(await session.scalars(_ROWLESS, limits))
    for job_id in rowless:
        await queue.enqueue(session, job_id)
    for job_id in list(await session.scalars(_ANSWERED, {"most": _AT_ONCE})):
        await app.parts.jobs.moves.answered(session, job_id)
    await session.execute(_SWEEP, limits)
    await session.execute(_FORGET_WORKERS)
    return len(orphans) + len(rowless)


async def lose(app: App, session: AsyncSession, job_id: str) -> None:
    """Decide about one job whose run is gone."""
    row = await session.scalar(_RUNNING, {"job_id": job_id})
    if row is None:
        return
    claim = claim_of(row)
    job, run = claim.job, Run(job_id, claim.job.attempts)
    next_ = after_loss(job, claim.kind)
    if isinstance(next_, Again):
        await app.parts.jobs.moves.lost(session, run, because=next_.because)
    else:
        # Its worker is dead; what that worker had begun on another machine may not be.
        await settle(app, session, run, next_, stopped=False)
