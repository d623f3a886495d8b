"""A job's row as others see it, and the events that tell of it."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from nebula.db.bare import Statements
from nebula.events.bus import PUBLISHING
from nebula.events.tail import CHANNEL
from nebula.jobs.asked import Asked
from nebula.jobs.job import Job, Progress
from nebula.jobs.models import JobRow
from nebula.tool.definition import EffectKind

LIST_STREAM = "jobs"


@dataclass(frozen=True)
class Claim:
    """A job whose next attempt has begun, as the worker that runs it needs it."""

    job: Job
    asked: Asked
    kind: EffectKind
    gated: bool


def stream_of(job_id: str) -> str:
    """Name the stream that tells of one job."""
    return f"job:{job_id}"


def shown(row: JobRow) -> Job:
    """Return the job of a row."""
    made = {"progress", "labels"}
    fields = {name: getattr(row, name) for name in Job.model_fields if name not in made}
    labels = Asked.model_validate(row.asked_as).labels
    return Job(progress=Progress.model_validate(row.progress), labels=labels, **fields)


def claim_of(row: dict[str, Any]) -> Claim:
    """Return what a worker needs of a row it claimed, given as its JSON."""
    asked = Asked.model_validate(row["asked_as"])
    return Claim(Job.model_validate(row), asked, EffectKind(row["kind"]), row["gated"])


def announcing(source: str) -> str:
    """Return the SQL that tells of the jobs in `source` (a table, or a name of the WITH before).

    It goes on a WITH, and ends in `told`, which must be read for it to happen; `:told_state` is
    told instead of the job's own state unless it is NULL.
    """
    state = "coalesce(CAST(:told_state AS text), state)"
    return f"""
    given AS (
        SELECT 'job:' || id AS stream, 'job.state' AS kind, jsonb_build_object(
            'state', {state}, 'waits_because', waits_because, 'attempts', attempts,
            'priority', priority, 'cancel_requested', cancel_requested, 'error', error
        ) AS data, owner_id AS owner, 1 AS nth, 1 AS many FROM {source}
        UNION ALL
        SELECT '{LIST_STREAM}', 'job.changed', jsonb_build_object(
            'id', id, 'tool', tool, 'state', {state}, 'owner', owner_id
        ), owner_id, 1, 1 FROM {source}
    ), {PUBLISHING}
    """  # noqa: S608 - only our own constants


_ANNOUNCE = text(
    f"WITH job AS (SELECT * FROM jobs WHERE id = :job_id), {announcing('job')} "  # noqa: S608
    "SELECT count(*) FROM told"
)


async def announce(statements: Statements, job_id: str, *, state: str | None = None) -> None:
    """Tell in the same transaction which state a job is in."""
    await statements.scalar(_ANNOUNCE, {"job_id": job_id, **telling(state)})


def telling(state: str | None = None) -> dict[str, Any]:
    """Return the values that `announcing` needs."""
    return {"channel": CHANNEL, "told_state": state}
