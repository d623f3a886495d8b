"""Every change of a job's state: one conditional statement, with its events and the gate's part.

A run is named by the job's id and the number of the attempt. What a run says counts only while
its attempt is the newest and still running, so a worker that was given up for dead changes nothing.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.db.bare import Bare, Statements, bare_in
from nebula.db.documents import storable_json
from nebula.errors import UpstreamUnavailable
from nebula.jobs import queue
from nebula.jobs.gate import Gate
from nebula.jobs.job import Job, JobState
from nebula.jobs.models import JobRow
from nebula.jobs.record import Claim, announce, announcing, claim_of, shown, telling
from nebula.tool.registry import Registry
from nebula.tool.result import Result
from nebula.tool.withdrawing import of_calls, withdraw

if TYPE_CHECKING:
    from nebula.events.bus import Events
    from nebula.gpu.leases.need import GpuNeed


@dataclass(frozen=True)
class Run:
    """One attempt at a job: the fencing token of everything it reports."""

    job_id: str
    attempt: int


@dataclass(frozen=True)
class Ending:
    """How a run ended."""

    state: JobState
    result: Result | None = None
    error: dict[str, Any] | None = None


class Moves:
    """Moves jobs forward from state to state."""

    def __init__(self, registry: Registry, events: "Events") -> None:
        """Take the tools that jobs run, and where the questions they asked are announced."""
        self._registry = registry
        self._events = events
        self.gate: Gate | None = None

    async def put(
        self, session: AsyncSession | Bare, fields: dict[str, Any], need: "GpuNeed | None"
    ) -> Job:
        """Record a new job and send it on its way: to the gate when it needs a GPU."""
        bare = session if isinstance(session, Bare) else await bare_in(session)
        given = {name: _stored(value) for name, value in fields.items()}
        values = {**given, **telling(), "gated": need is not None}
        job = Job.model_validate(await bare.scalar(_PUT, values))
        if need is not None:
            assert isinstance(session, AsyncSession), "a gate needs a session"
            await self._gate().admit(session, job, need)
        return job

    async def ready(self, session: AsyncSession, job_id: str) -> None:
        """Put a job that the gate placed before the workers."""
        placed = update(JobRow).where(JobRow.id == job_id, JobRow.state == "queued")
        found = await session.execute(placed.values(placed=True).returning(JobRow.id))
        if found.scalar_one_or_none() is not None:
            await queue.enqueue(session, job_id)

    async def claim(
        self, statements: Statements, job_id: str, queue_id: int, worker: str
    ) -> Claim | None:
        """Begin the next attempt for the holder of the job's queue row; None if it is not to run."""
        asked = {"job_id": job_id, "queue_id": queue_id, "worker": worker, **telling()}
        row = await statements.scalar(_CLAIM, asked)
        return None if row is None else claim_of(row)

    async def claimed(
        self, statements: Statements, job_id: str, queue_id: int, worker: str
    ) -> Claim | None:
        """Return a job whose claim was cut off in the middle, if it took effect."""
        asked = {"job_id": job_id, "queue_id": queue_id, "worker": worker}
        row = await statements.scalar(_CLAIMED, asked)
        return None if row is None else claim_of(row)

    async def end(
        self, session: AsyncSession, run: Run, ending: Ending, *, stopped: bool = True
    ) -> Job | None:
        """Record how a run ended; None when the run no longer counts.

        `stopped` says that its work is known to have ended: else the gate frees its GPU later.
        """
        result = ending.result
        values = {
            "state": ending.state.value,
            "result": None if result is None else result.model_dump(mode="json"),
            "error": ending.error,
            "artefacts": list(getattr(result, "artefacts", ())),
            "simulated": bool(getattr(result, "simulated", False)),
            "finished_at": func.clock_timestamp(),
        }
        row = await self._of_run(session, run, values)
        if row is None:
            return None
        await self._released(session, row, stopped=stopped)
        if ending.state is not JobState.SUCCEEDED:
            await self._ask_no_more(session, row)
        job = shown(row)
        await announce(session, job.id)
        return job

    async def _ask_no_more(self, session: AsyncSession, row: JobRow) -> None:
        """Take back what the job's calls asked: none of them is made again."""
        said = "was cancelled" if row.state == JobState.CANCELLED.value else "has ended"
        asked = of_calls(row.owner_id, f"{row.call_id}/")
        await withdraw(session, self._events, asked, f"The job {said}.")

    async def _released(self, session: AsyncSession, row: JobRow, *, stopped: bool) -> None:
        """Tell the gate that a run is over; what may still run keeps its memory for a while."""
        if row.gated and self.gate is not None:
            over = self.gate.finished if stopped else self.gate.withdrawn
            await over(session, row.id)

    async def again(
        self,
        session: AsyncSession,
        run: Run,
        *,
        because: str,
        delay_seconds: float = 0.0,
        more_attempts: int = 0,
        waits_for: str | None = None,
        stopped: bool = True,
    ) -> Job | None:
        """Queue a job whose run ended in the open; `more_attempts` is for runs not its own fault.

        One that waits for something is queued when that has ended.
        """
        values = {"max_attempts": JobRow.max_attempts + more_attempts, **_waiting(because)}
        if waits_for is not None:
            values |= {"waits_for": waits_for, "queue_id": None, "queued_at": None}
        row = await self._of_run(session, run, values)
        if row is None:
            return None
        await self._released(session, row, stopped=stopped)
        if row.cancel_requested:
            # Somebody cancelled it just as its run ended: it does not go on.
            return await self.end_waiting(session, run.job_id, Ending(JobState.CANCELLED))
        if waits_for is None:
            await queue.enqueue(session, run.job_id, delay_seconds=delay_seconds)
        job = shown(row)
        await announce(session, job.id)
        return job

    async def answered(self, session: AsyncSession, job_id: str) -> None:
        """Queue a job that has what it waited for: it goes on, or learns that it may not."""
        parked = update(JobRow).where(JobRow.id == job_id, JobRow.state == "queued")
        await session.execute(parked.values(waits_for=None, waits_because=""))
        await queue.enqueue(session, job_id)
        await announce(session, job_id)

    async def lost(self, session: AsyncSession, run: Run, *, because: str) -> Job | None:
        """Queue a job again whose worker died: its GPU is freed when the gate finds that safe."""
        row = await self._of_run(session, run, _waiting(because))
        if row is None:
            return None
        job = shown(row)
        if row.gated and self.gate is not None:
            await self.gate.withdrawn(session, run.job_id)
        # What the run had begun inside may begin again at once, and not after its time-out.
        await session.execute(_OVERDUE, {"principal": job.owner_id, "prefix": f"{job.call_id}/"})
        await queue.enqueue(session, run.job_id)
        await announce(session, job.id, state=JobState.LOST.value)
        await announce(session, job.id)
        return job

    async def cancel_waiting(self, session: AsyncSession, job_id: str, by: str) -> Job | None:
        """Cancel a job that does not run yet."""
        asked = {"cancel_requested": True, "cancelled_by": by}
        return await self.end_waiting(session, job_id, Ending(JobState.CANCELLED), asked)

    async def end_waiting(
        self, session: AsyncSession, job_id: str, ending: Ending, more: dict[str, Any] | None = None
    ) -> Job | None:
        """End a job that does not run yet: it was cancelled, or it can never run."""
        values = {
            "state": ending.state.value,
            "error": ending.error,
            "waits_because": "",
            "waits_for": None,
            "finished_at": func.clock_timestamp(),
            **(more or {}),
        }
        waiting = update(JobRow).where(JobRow.id == job_id, JobRow.state == "queued")
        ended = await session.execute(waiting.values(**values).returning(JobRow))
        row = ended.scalar_one_or_none()
        if row is None:
            return None
        if row.gated and self.gate is not None:
            await self.gate.withdrawn(session, job_id)
        await queue.forget(session, job_id)
        await self._ask_no_more(session, row)
        job = shown(row)
        await announce(session, job.id)
        return job

    async def _of_run(
        self, session: AsyncSession, run: Run, values: dict[str, Any]
    ) -> JobRow | None:
        moved = await session.execute(
            update(JobRow)
            .where(
                JobRow.id == run.job_id,
                JobRow.state == "running",
                JobRow.attempts == run.attempt,
            )
            .values(**values)
            .returning(JobRow)
        )
        return moved.scalar_one_or_none()

    async def admit_due(self, session: AsyncSession, job_id: str, queue_id: int) -> None:
        """Hand a job whose next attempt is due, and that needs a GPU, to the gate."""
        due = update(JobRow).where(
            JobRow.id == job_id,
            JobRow.state == "queued",
            JobRow.queue_id == queue_id,
            JobRow.gated,
            ~JobRow.placed,
        )
        values = {"queue_id": None, "queued_at": None}
        row = (await session.execute(due.values(**values).returning(JobRow))).scalar_one_or_none()
        if row is None:
            return
        tool = self._registry.get(row.tool)
        need = None
        if tool.gpu is not None:
            need = tool.gpu(tool.input_model.model_validate(row.arguments))
        if need is None:
            await self.ready(session, job_id)
        else:
            await self._gate().admit(session, shown(row), need)

    def _gate(self) -> Gate:
        if self.gate is None:
            raise UpstreamUnavailable(
                "This job needs a GPU, and nothing here hands out GPUs.",
                hint="Start it with `jarvis up` or `jarvis worker`.",
            )
        return self.gate


def _waiting(because: str) -> dict[str, Any]:
    return {
        "state": JobState.QUEUED.value,
        "worker": None,
        "placed": False,
        "waits_because": because,
        "progress": {},
    }


_OVERDUE = text(
    "UPDATE tool_calls SET deadline = clock_timestamp() "
    "WHERE principal_id = :principal AND starts_with(call_id, :prefix) AND state = 'running'"
)


def _stored(value: Any) -> Any:
    return storable_json(value) if isinstance(value, dict) else value


_PUT = text(
    f"""
    WITH job AS (INSERT INTO jobs (
        id, tool, arguments, state, priority, owner_id, owner_name, surface, session_id, call_id,
        asked_as, kind, gated, max_attempts, queue_id, queued_at
    ) VALUES (
        :id, :tool, CAST(:arguments AS jsonb), 'queued', :priority, :owner_id, :owner_name,
        :surface, :session_id, :call_id, CAST(:asked_as AS jsonb), :kind, :gated, :max_attempts,
        CASE WHEN NOT CAST(:gated AS boolean) THEN {queue.row_of("CAST(:id AS text)", "CAST(:priority AS int)", "NULL")} END,
        CASE WHEN NOT CAST(:gated AS boolean) THEN clock_timestamp() END
    ) RETURNING *), {announcing("job")}
    SELECT to_jsonb(job) FROM job WHERE (SELECT count(*) FROM told) > 0
    """  # noqa: S608 - only our own constants
)

_CLAIM = text(
    f"""
    WITH job AS (UPDATE jobs SET
        state = 'running', attempts = attempts + 1, worker = :worker, waits_because = '',
        progress = '{{}}', started_at = coalesce(started_at, clock_timestamp())
    WHERE id = :job_id AND state = 'queued' AND queue_id = :queue_id AND (placed OR NOT gated)
    RETURNING *), {announcing("job")}
    SELECT to_jsonb(job) FROM job WHERE (SELECT count(*) FROM told) > 0
    """  # noqa: S608 - only our own constants
)

_CLAIMED = text(
    "SELECT to_jsonb(jobs) FROM jobs WHERE id = :job_id AND state = 'running' "
    "AND queue_id = :queue_id AND worker = :worker"
)
