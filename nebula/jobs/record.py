"""A job's row as others see it, and the events that tell of it."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from nebula.auth.principal import Caller
from nebula.db.bare import Statements
from nebula.events.bus import Events
from nebula.jobs.job import Job, Progress
from nebula.jobs.models import JobRow
from nebula.policy.labels import Label
from nebula.tool.definition import EffectKind

LIST_STREAM = "jobs"


class Asked(BaseModel, frozen=True):
    """What of a caller is kept beside the owner, so that the run is theirs too."""

    key_id: str | None
    agent: str | None
    labels: frozenset[Label]
    by_model: bool
    frozen: tuple[frozenset[str], frozenset[str]] | None = None
    """Rights the run never exceeds, when a schedule asked."""


@dataclass(frozen=True)
class Claim:
    """A job whose next attempt has begun, as the worker that runs it needs it."""

    job: Job
    asked: Asked
    kind: EffectKind
    gated: bool


def asking(caller: Caller) -> dict[str, Any]:
    """Return the columns that keep who asks."""
    principal = caller.principal
    asked = Asked(
        key_id=principal.key_id,
        agent=caller.agent,
        labels=caller.labels,
        by_model=caller.by_model,
        frozen=principal.frozen,
    )
    return {
        "owner_id": principal.id,
        "owner_name": principal.name,
        "surface": caller.surface.value,
        "session_id": caller.session_id,
        "asked_as": asked.model_dump(mode="json"),
    }


def stream_of(job_id: str) -> str:
    """Name the stream that tells of one job."""
    return f"job:{job_id}"


def shown(row: JobRow) -> Job:
    """Return the job of a row."""
    fields = {name: getattr(row, name) for name in Job.model_fields if name != "progress"}
    return Job(progress=Progress.model_validate(row.progress), **fields)


def claim_of(row: dict[str, Any]) -> Claim:
    """Return what a worker needs of a row it claimed, given as its JSON."""
    asked = Asked.model_validate(row["asked_as"])
    return Claim(Job.model_validate(row), asked, EffectKind(row["kind"]), row["gated"])


async def announce(
    events: Events, session: Statements, job: Job, *, state: str | None = None
) -> None:
    """Tell in the same transaction which state a job is in."""
    told = {
        "state": state or job.state.value,
        "waits_because": job.waits_because,
        "attempts": job.attempts,
        "priority": job.priority,
        "cancel_requested": job.cancel_requested,
        "error": job.error,
    }
    owner = job.owner_id
    changed = {"id": job.id, "tool": job.tool, "state": told["state"], "owner": owner}
    drafts = [
        (stream_of(job.id), "job.state", told, owner),
        (LIST_STREAM, "job.changed", changed, owner),
    ]
    await events.publish_all(drafts, session)
