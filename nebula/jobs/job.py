"""A job as callers see it."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, Field

from nebula.policy.labels import Label
from nebula.tool.result import Block, JobProgress, Result


class JobState(StrEnum):
    """Where a job is; every state but the first two is its last."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    """Its worker died, and it was tried as often as it may be."""
    UNKNOWN = "unknown"
    """It broke in the middle of an effect that nobody can look up; a person decides."""

    @property
    def ended(self) -> bool:
        """Say whether nothing more happens to the job."""
        return self not in {JobState.QUEUED, JobState.RUNNING}


class Progress(BaseModel, frozen=True):
    """How far a job is; a fraction is 0..1."""

    fraction: float | None = None
    step: int | None = None
    steps: int | None = None
    message: str = ""
    eta_seconds: float | None = None


class Job(BaseModel, frozen=True):
    """The record of one job."""

    id: str
    tool: str
    arguments: dict[str, Any]
    state: JobState
    priority: int = Field(0, description="Higher runs first")
    owner_id: str
    owner_name: str
    surface: str
    session_id: str | None = None
    call_id: str
    progress: Progress = Progress()
    waits_because: str = ""
    waits_for: str | None = Field(None, description="The approval or the board that it waits for")
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    artefacts: tuple[str, ...] = ()
    attempts: int = Field(0, description="Runs begun; the number of the newest one fences the rest")
    max_attempts: int = 1
    cancel_requested: bool = False
    worker: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    simulated: bool = False
    labels: frozenset[Label] = frozenset({Label.OUTSIDE})
    """What whoever submitted it had read: its arguments may be made of that."""


class LogLine(BaseModel, frozen=True):
    """One line that a job wrote."""

    seq: int
    at: datetime
    text: str


def new_job_id() -> str:
    """Return an id that no job has."""
    return f"job_{uuid4().hex[:20]}"


class JobHandle(Result):
    """What a call that became a job answers at once."""

    job_id: str
    tool: str
    state: JobState
    message: str = ""

    def render(self) -> Sequence[Block]:
        """Show the job; doors keep it up to date."""
        state = self.state.value
        return [JobProgress(job_id=self.job_id, tool=self.tool, state=state, message=self.message)]

    def origin(self) -> Label:
        """A handle holds nothing that a tool read outside."""
        return Label.SYSTEM
