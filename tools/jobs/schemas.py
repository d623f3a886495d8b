"""What the jobs tools return."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from nebula.jobs.job import Job, JobState, LogLine, Progress
from nebula.policy.labels import Label
from nebula.tool.render import escape
from nebula.tool.result import Block, JobProgress, Markdown, Result, Table


class JobEntry(BaseModel):
    """One job in a list."""

    id: str
    tool: str
    state: JobState
    owner: str
    priority: int
    fraction: float | None
    message: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobList(Result):
    """Jobs, newest first."""

    jobs: list[JobEntry]
    outside: bool = Field(False, exclude=True)

    def render(self) -> Sequence[Block]:
        """Show a table."""
        if not self.jobs:
            return [Markdown(text="There are no such jobs.")]
        columns = ["Job", "Tool", "State", "Done", "Owner", "Since", "What"]
        return [Table(title="Jobs", columns=columns, rows=[_row(job) for job in self.jobs])]

    def origin(self) -> Label:
        """A message may quote what a tool read outside."""
        return Label.OUTSIDE if self.outside else Label.SYSTEM


class JobReport(Result):
    """One job with the end of its log."""

    id: str
    tool: str
    arguments: dict[str, Any]
    state: JobState
    owner: str
    priority: int
    progress: Progress
    waits_because: str
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    artefacts: tuple[str, ...]
    attempts: int
    max_attempts: int
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    simulated: bool
    log: list[LogLine]
    shown: list[Block] = Field(default_factory=list, exclude=True)
    outside: bool = Field(False, exclude=True)

    def render(self) -> Sequence[Block]:
        """Show the job's card, its result as its tool shows it, what went wrong, and the log."""
        blocks: list[Block] = [
            JobProgress(
                job_id=self.id,
                tool=self.tool,
                state=self.state.value,
                fraction=self.progress.fraction,
                message=_message(self.progress, self.waits_because, None),
            )
        ]
        if self.error is not None:
            said = " ".join(str(self.error.get(part, "")) for part in ("detail", "hint"))
            blocks.append(Markdown(text=escape(said.strip())))
        blocks += self.shown
        if self.log:
            rows = [[line.at.strftime("%H:%M:%S"), line.text] for line in self.log]
            blocks.append(Table(title="Log", columns=["Time", "Line"], rows=rows))
        return blocks

    def origin(self) -> Label:
        """A job's result, log and errors come from where its tool's do."""
        return Label.OUTSIDE if self.outside else Label.SYSTEM


class JobChange(Result):
    """What became of a job."""

    job_id: str
    tool: str
    state: JobState
    done: str

    def render(self) -> Sequence[Block]:
        """Show the job's card with what was done."""
        return [
            JobProgress(
                job_id=self.job_id, tool=self.tool, state=self.state.value, message=self.done
            )
        ]


def entry_of(job: Job) -> JobEntry:
    """Return a job as a list shows it."""
    return JobEntry(
        id=job.id,
        tool=job.tool,
        state=job.state,
        owner=job.owner_name,
        priority=job.priority,
        fraction=job.progress.fraction,
        message=_message(job.progress, job.waits_because, job.error),
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def _message(progress: Progress, waits_because: str, error: dict[str, Any] | None) -> str:
    if error is not None:
        return str(error.get("detail", ""))
    return waits_because or progress.message


def _row(job: JobEntry) -> list[str]:
    # What a tool told last may be short of its end.
    share = 1.0 if job.state is JobState.SUCCEEDED else job.fraction
    done = "–" if share is None else f"{share:.0%}"
    since = (job.finished_at or job.started_at or job.created_at).strftime("%Y-%m-%d %H:%M")
    return [job.id, job.tool, job.state.value, done, job.owner, since, job.message or "–"]
