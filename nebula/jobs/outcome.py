"""What becomes of a job when its run ends badly: one pure decision by the kind of its effect."""

import random
from dataclasses import dataclass
from enum import Enum

from nebula.errors import ApprovalRequired, Conflict, NebulaError, OutcomeUnknown, WaitsFor
from nebula.jobs.job import Job, JobState
from nebula.jobs.moves import Ending
from nebula.jobs.run import Trace
from nebula.tool.definition import EffectKind

_LONGEST_WAIT_SECONDS = 60.0


class Broken(Enum):
    """Why a run was broken off from outside."""

    CANCELLED = "cancelled"
    """Somebody cancelled the job."""
    STOPPING = "stopping"
    """The worker stops."""
    SUPERSEDED = "superseded"
    """The worker was given up for dead meanwhile, and the job is no longer its own."""


@dataclass(frozen=True)
class Again:
    """The job is to run once more."""

    because: str
    delay_seconds: float = 0.0
    more_attempts: int = 0
    waits_for: str | None = None
    """Not before this approval was answered, or this other thing has ended."""


def after_failure(
    job: Job, kind: EffectKind, error: NebulaError, trace: Trace, *, first_wait: float
) -> Ending | Again:
    """Decide about a run that ended with an error; `first_wait` is in seconds.

    Tried again is what may pass, where the effect may be repeated.
    """
    if isinstance(error, ApprovalRequired):
        # What it did through calls is on record and told again; so it may begin again.
        why = f"It waits for a person to approve {error}"
        return Again(why, more_attempts=1, waits_for=error.approval_id)
    if isinstance(error, WaitsFor):
        return Again(str(error), more_attempts=1, waits_for=error.what)
    wait = _wait(first_wait, job.attempts)
    may_pass = error.retryable or isinstance(error, OutcomeUnknown)
    if may_pass and not trace.started:
        return Again(str(error), delay_seconds=wait, more_attempts=1)
    if trace.overran:
        return Ending(JobState.TIMED_OUT, error=error.payload())
    if kind is EffectKind.OPAQUE and trace.cut:
        return Ending(JobState.UNKNOWN, error=broken_off(job).payload())
    if may_pass and kind is not EffectKind.OPAQUE and job.attempts < job.max_attempts:
        return Again(_tried(job, str(error)), delay_seconds=wait)
    unknown = isinstance(error, OutcomeUnknown)
    return Ending(JobState.UNKNOWN if unknown else JobState.FAILED, error=error.payload())


def after_break(job: Job, kind: EffectKind, why: Broken, *, started: bool) -> Ending | Again:
    """Decide about a run that was cancelled, or whose worker stops."""
    opaque = kind is EffectKind.OPAQUE and started
    if why is Broken.CANCELLED:
        rest = " Part of it may have happened." if opaque else ""
        return Ending(JobState.CANCELLED, error=Conflict(f"It was cancelled.{rest}").payload())
    if opaque:
        return Ending(JobState.UNKNOWN, error=broken_off(job).payload())
    return Again("Its worker was stopped; the next one goes on.", more_attempts=1)


def after_loss(job: Job, kind: EffectKind) -> Ending | Again:
    """Decide about a run whose worker died without a word."""
    if job.cancel_requested:
        return after_break(job, kind, Broken.CANCELLED, started=True)
    if kind is EffectKind.OPAQUE:
        return Ending(JobState.UNKNOWN, error=broken_off(job).payload())
    if job.attempts >= job.max_attempts:
        lost = Conflict(
            f"The worker died {job.attempts} times while it ran this.",
            hint="Look at the log of the worker; then retry the job.",
        )
        return Ending(JobState.LOST, error=lost.payload())
    return Again(_tried(job, "Its worker died"))


def broken_off(job: Job) -> OutcomeUnknown:
    """Return what is told of an effect that nobody can look up and that may not be repeated."""
    return OutcomeUnknown(
        f"{job.tool} broke off in the middle; nobody knows whether it took effect.",
        hint="Look at the present state; then retry the job if it is needed.",
    )


def _tried(job: Job, why: str) -> str:
    return f"{why.rstrip('.')}. Attempt {job.attempts + 1} of {job.max_attempts} follows."


def _wait(first: float, attempts: int) -> float:
    """Double the wait with each attempt, and spread what failed together."""
    longest: float = min(_LONGEST_WAIT_SECONDS, first * 2.0 ** min(attempts, 30))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
