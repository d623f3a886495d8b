"""Who asked for a job: what is kept of the caller, and who that is when the job runs."""

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from nebula.auth.grant import Grant
from nebula.auth.principal import Caller, Principal, Role, Surface
from nebula.policy.labels import Label

if TYPE_CHECKING:
    from nebula.auth.service import Auth
    from nebula.jobs.run import JobRun


class Asked(BaseModel, frozen=True):
    """What of a caller is kept beside the owner, so that the run is theirs too."""

    key_id: str | None
    agent: str | None
    labels: frozenset[Label]
    by_model: bool
    frozen: tuple[frozenset[str], frozenset[str]] | None = None
    """Rights the run never exceeds, allowed and denied: those of a schedule, an agent, a session."""


def asking(caller: Caller) -> dict[str, Any]:
    """Return the columns that keep who asks."""
    principal = caller.principal
    asked = Asked(
        key_id=principal.key_id,
        agent=caller.agent,
        labels=caller.labels,
        by_model=caller.by_model,
        frozen=principal.frozen and (principal.frozen.allowed, principal.frozen.denied),
    )
    return {
        "owner_id": principal.id,
        "owner_name": principal.name,
        "surface": caller.surface.value,
        "session_id": caller.session_id,
        "asked_as": asked.model_dump(mode="json"),
    }


async def owner_of(run: "JobRun", auth: "Auth") -> Caller:
    """Return the caller of a running job, with the rights that their rows grant now.

    Raises:
        NotAuthenticated: when the owner or the key they came with was revoked since.
    """
    job, asked = run.job, run.asked
    kept = Principal(
        job.owner_id,
        job.owner_name,
        Role.CLIENT,
        frozenset(),
        key_id=asked.key_id,
        frozen=asked.frozen and Grant(*asked.frozen),
    )
    return Caller(
        await auth.current(kept),
        Surface(job.surface),
        session_id=job.session_id,
        agent=asked.agent,
        labels=asked.labels,
        by_model=asked.by_model,
        job_id=job.id,
    )
