"""Runs one job from its claim to its end, whatever the database does meanwhile."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.app import App
from nebula.db.engine import Database
from nebula.errors import Conflict, InternalError, NebulaError, OutcomeUnknown
from nebula.jobs.job import Job, JobState
from nebula.jobs.moves import Ending, Run
from nebula.jobs.outcome import Again, Broken, after_break, after_failure
from nebula.jobs.pace import Pace
from nebula.jobs.record import Claim
from nebula.jobs.run import JobRun
from nebula.tool.metrics import observe
from nebula.tool.result import Result

T = TypeVar("T")

log = structlog.get_logger(__name__)

_LONGEST_PAUSE_SECONDS = 1.0
_MOST_CONFLICTS = 20


class Runner:
    """Claims and runs jobs for one worker."""

    def __init__(self, app: App, db: Database, worker: str, pace: Pace) -> None:
        """Take the App whose tools run, and the worker's own way to the database."""
        self._app = app
        self._db = db
        self._jobs = app.parts.jobs.over(db)
        self._worker = worker
        self._pace = pace
        self._works: dict[Run, _Work] = {}
        self.gives_up_at = float("inf")
        """The monotonic time after which a database that is away is not waited for."""

    @property
    def running(self) -> frozenset[Run]:
        """Return the runs of this process."""
        return frozenset(self._works)

    async def take(self, job_id: str, queue_id: int) -> None:
        """Run the job that a row of the queue names, if it is to run."""
        try:
            claim = await self._claim(job_id, queue_id)
        except NebulaError as error:
            if not _may_pass(error):
                # The gate refuses it for good: what it needs is not there any more.
                await self._persistently(partial(self._refuse, job_id, error))
                return
            raise
        if claim is None:
            return
        began = time.perf_counter()
        run = Run(job_id, claim.job.attempts)
        reports = JobRun(claim, self._jobs)
        tool = asyncio.create_task(self._app.executor.run_job(reports), name=f"job {job_id}")
        work = self._works[run] = _Work(tool, self._pace.last_word)
        try:
            async with reports.reporting():
                await work.over()
            next_ = _next(claim, reports, work, self._pace.retry)
            if next_ is not None:
                await self._settle(run, next_, stopped=_stopped(reports, work))
                observe(claim.job.tool, _named(next_), time.perf_counter() - began)
        finally:
            del self._works[run]

    def stop(self, run: Run, why: Broken) -> None:
        """Break a run off; its tool gets a CancelledError and ends what it started."""
        work = self._works.get(run)
        if work is not None:
            work.stop(why)

    async def _claim(self, job_id: str, queue_id: int) -> Claim | None:
        unsure = False

        async def attempt() -> Claim | None:
            nonlocal unsure
            moves, again = self._jobs.moves, unsure
            unsure = True
            async with self._db.bare() as bare:
                claim = await moves.claim(bare, job_id, queue_id, self._worker)
                if claim is None and again:
                    # The database may have gone away just as an earlier claim was saved.
                    claim = await moves.claimed(bare, job_id, queue_id, self._worker)
            if claim is None:
                async with self._db.session() as session:
                    await moves.admit_due(session, job_id, queue_id)
            return claim

        return await self._persistently(attempt)

    async def _refuse(self, job_id: str, error: NebulaError) -> None:
        ending = Ending(JobState.FAILED, error=error.payload())
        async with self._db.session() as session:
            job = await self._jobs.moves.end_waiting(session, job_id, ending)
            if job is not None:
                await self._app.parts.audit.append(session, audit_line(job))

    async def _settle(self, run: Run, next_: Ending | Again, *, stopped: bool) -> None:
        async def attempt() -> None:
            async with self._db.session() as session:
                await settle(self._app, session, run, next_, stopped=stopped)

        await self._persistently(attempt)

    async def _persistently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try until the database has answered: it may be away for as long as it likes."""
        pause, conflicts = 0.05, 0
        while True:
            try:
                return await attempt()
            except NebulaError as error:
                conflicts += isinstance(error, Conflict)
                passes = _may_pass(error) and conflicts <= _MOST_CONFLICTS
                if not passes or time.monotonic() > self.gives_up_at:
                    raise
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


class _Work:
    """A tool at work, and why it was broken off if it was."""

    def __init__(self, task: asyncio.Task[Result], last_word: float) -> None:
        self.task = task
        self._last_word = last_word
        self.broken: Broken | None = None
        self._told = asyncio.Event()

    def stop(self, why: Broken) -> None:
        if self.broken is None:
            self.broken = why
            self._told.set()
            self.task.cancel()

    async def over(self) -> None:
        """Wait for the end; a tool that was told to stop and does not is left behind."""
        told = asyncio.create_task(self._told.wait())
        try:
            await asyncio.wait([self.task, told], return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
        if not self.task.done():
            await asyncio.wait([self.task], timeout=self._last_word)


async def settle(
    app: App, session: AsyncSession, run: Run, next_: Ending | Again, *, stopped: bool = True
) -> None:
    """Record what became of a run, with its audit line, unless it no longer counts.

    `stopped` says that nothing of it runs any more, so that its GPU is free at once.
    """
    moves = app.parts.jobs.moves
    if isinstance(next_, Again):
        await moves.again(
            session,
            run,
            because=next_.because,
            delay_seconds=next_.delay_seconds,
            more_attempts=next_.more_attempts,
            waits_for=next_.waits_for,
            stopped=stopped,
        )
        return
    ended = await moves.end(session, run, next_, stopped=stopped)
    if ended is not None:
        await app.parts.audit.append(session, audit_line(ended))


def audit_line(job: Job) -> dict[str, Any]:
    """Return the line that tells how a job ended."""
    detail: dict[str, Any] = {"job_id": job.id, "attempts": job.attempts}
    if job.error is not None:
        detail["error"] = job.error
    return {
        "principal": job.owner_name,
        "surface": job.surface,
        "tool": job.tool,
        "call_id": job.call_id[:200],
        "session_id": job.session_id,
        "outcome": "ok" if job.state is JobState.SUCCEEDED else job.state.value,
        "detail": detail,
    }


def _next(claim: Claim, reports: JobRun, work: _Work, first_wait: float) -> Ending | Again | None:
    """Decide what becomes of the job; None when it is no longer ours to say."""
    job, kind = claim.job, claim.kind
    if work.broken is Broken.SUPERSEDED:
        return None
    task = work.task
    error = task.exception() if task.done() and not task.cancelled() else None
    if task.done() and not task.cancelled() and error is None:
        return Ending(JobState.SUCCEEDED, result=task.result())
    if work.broken is not None:
        return after_break(job, kind, work.broken, started=reports.trace.started)
    if not isinstance(error, NebulaError):
        error = _bug(job, error)
    return after_failure(job, kind, error, reports.trace, first_wait=first_wait)


def _stopped(reports: JobRun, work: _Work) -> bool:
    """Say whether it is known that nothing of a run goes on, here or on the machine of its GPU."""
    lease = reports.lease
    return work.task.done() and (lease is None or not lease.may_run_on.is_set())


def _bug(job: Job, error: BaseException | None) -> InternalError:
    reference = uuid4().hex[:12]
    log.error("job_crashed", tool=job.tool, job=job.id, reference=reference, exc_info=error)
    return InternalError(reference)


def _may_pass(error: NebulaError) -> bool:
    """Say whether writing to the database again may do better."""
    return error.retryable or isinstance(error, OutcomeUnknown | Conflict)


def _named(next_: Ending | Again) -> str:
    return "again" if isinstance(next_, Again) else next_.state.value
