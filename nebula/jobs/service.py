"""Jobs as the program sees them: submit, look, follow, cancel."""

import asyncio
from collections.abc import Sequence

from pydantic import BaseModel
from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.principal import Caller, Principal
from nebula.db.bare import Bare
from nebula.db.engine import Database
from nebula.errors import Conflict, InvalidInput, NotFound
from nebula.events.bus import Events
from nebula.jobs import queue
from nebula.jobs.asked import asking
from nebula.jobs.gate import Gate
from nebula.jobs.job import Job, JobState, LogLine, Progress, new_job_id
from nebula.jobs.models import JobLogRow, JobRow
from nebula.jobs.moves import Moves
from nebula.jobs.record import announce, shown, stream_of
from nebula.tool.definition import AnyTool, EffectKind, secrets_of
from nebula.tool.registry import Registry

CANCEL_STREAM = "jobs:cancel"
"""Wakes the worker that runs a job somebody cancelled; its heartbeat would see it too."""
MOST_PRIORITY = 1000
_ATTEMPTS = 3
_LONGEST_LINE = 4000
_MOST_LINES = 10_000
_NO_WORKER = "No worker is running: start one with `jarvis worker`, or set JARVIS_WORKERS."


class Jobs:
    """The jobs of this installation; people see their own, and all with `jobs:admin`."""

    def __init__(self, db: Database, events: Events, moves: Moves) -> None:
        """Take the database that holds them, where they are announced, and how they change."""
        self._db = db
        self._events = events
        self.moves = moves

    def over(self, db: Database) -> "Jobs":
        """Return the same jobs through another pool of connections."""
        return Jobs(db, self._events, self.moves)

    @property
    def gate(self) -> Gate | None:
        """Return what admits jobs to GPUs."""
        return self.moves.gate

    @gate.setter
    def gate(self, gate: Gate) -> None:
        self.moves.gate = gate

    async def submit(
        self,
        session: AsyncSession | Bare,
        tool: AnyTool,
        values: BaseModel,
        caller: Caller,
        call_id: str,
        *,
        priority: int = 0,
        job_id: str | None = None,
    ) -> Job:
        """Record a job in the caller's transaction; policy and approval came before.

        A bare connection will do for tools that declare no `gpu`.

        Raises:
            InvalidInput: when the tool takes or shows secrets, which a job would keep.
            UpstreamUnavailable: when it needs a GPU and nothing hands out GPUs.
        """
        if sealed := secrets_of(tool):
            raise InvalidInput(
                f"{tool.name} takes a secret ({', '.join(sealed)}), so it cannot be a job.",
                hint="Run it directly.",
            )
        if once := tool.output_model.shown_once():
            raise InvalidInput(
                f"{tool.name} shows a secret once ({', '.join(once)}), so it cannot be a job.",
                hint="Run it directly.",
            )
        _check_priority(priority)
        need = tool.gpu(values) if tool.gpu is not None else None
        fields = {
            "id": job_id or new_job_id(),
            "tool": tool.name,
            "arguments": values.model_dump(mode="json"),
            "priority": priority,
            "call_id": call_id,
            "kind": tool.kind.value,
            "max_attempts": 1 if tool.kind is EffectKind.OPAQUE else _ATTEMPTS,
            **asking(caller),
        }
        return await self.moves.put(session, fields, need)

    async def ready(self, session: AsyncSession, job_id: str) -> None:
        """Put a queued job that the gate has a place for before the workers."""
        await self.moves.ready(session, job_id)

    async def waits(self, session: AsyncSession, job_id: str, because: str) -> None:
        """Say why a job waits; it is told on when it changes."""
        said = update(JobRow).where(
            JobRow.id == job_id, JobRow.state == "queued", JobRow.waits_because != because
        )
        changed = await session.execute(said.values(waits_because=because).returning(JobRow))
        row = changed.scalar_one_or_none()
        if row is not None:
            await announce(session, row.id)

    async def get(self, job_id: str, principal: Principal) -> Job:
        """Return a job.

        Raises:
            NotFound: when there is none of this id that the principal may see.
        """
        async with self._db.session() as session:
            row = await _visible(session, job_id, principal)
            return (await _explained(session, [row]))[0]

    async def log(
        self, job_id: str, principal: Principal, after: int = 0, *, last: int | None = None
    ) -> list[LogLine]:
        """Return the lines of a job's log with a number above `after`; of those, the last ones."""
        lines = select(JobLogRow).where(JobLogRow.job_id == job_id, JobLogRow.seq > after)
        newest_first = lines.order_by(JobLogRow.seq.desc()).limit(last)
        async with self._db.session() as session:
            await _visible(session, job_id, principal)
            rows = (await session.scalars(newest_first)).all()
        return [LogLine(seq=row.seq, at=row.at, text=row.text) for row in reversed(rows)]

    async def list(
        self,
        principal: Principal,
        state: JobState | None = None,
        tool: str | None = None,
        limit: int = 50,
    ) -> list[Job]:
        """List the jobs that a principal may see, newest first."""
        query = select(JobRow).order_by(JobRow.created_at.desc()).limit(limit)
        if not principal.can("jobs:admin"):
            query = query.where(JobRow.owner_id == principal.id)
        if state is not None:
            query = query.where(JobRow.state == state.value)
        if tool is not None:
            query = query.where(JobRow.tool == tool)
        async with self._db.session() as session:
            return await _explained(session, (await session.scalars(query)).all())

    async def wait(self, job_id: str, principal: Principal, seconds: float) -> Job:
        """Return a job once it has ended, or as it is after so many seconds."""
        stream = stream_of(job_id)
        after = await self._events.last(stream)
        job = await self.get(job_id, principal)
        if job.state.ended:
            return job
        try:
            async with asyncio.timeout(seconds):
                async for event in self._events.follow(stream, after):
                    # A lost run is told of too, though the job goes on.
                    if event.kind == "job.state" and JobState(event.data["state"]).ended:
                        job = await self.get(job_id, principal)
                        if job.state.ended:
                            return job
        except TimeoutError:
            pass
        return await self.get(job_id, principal)

    async def has_worker(self) -> bool:
        """Say whether any worker is alive, in this process or another."""
        async with self._db.session() as session:
            return bool(await session.scalar(_ANY_WORKER))

    async def cancel(self, job_id: str, by: Principal) -> Job:
        """Cancel a job: at once while it waits, else as soon as its run has stopped.

        Raises:
            NotFound: when there is none of this id that the principal may see.
            Conflict: when it has ended.
        """
        async with self._db.session() as session:
            row = await _visible(session, job_id, by)
            waiting = await self.moves.cancel_waiting(session, job_id, by.name)
            if waiting is not None:
                return waiting
            asked = update(JobRow).where(JobRow.id == job_id, JobRow.state == "running")
            asked = asked.values(cancel_requested=True, cancelled_by=by.name)
            found = (await session.execute(asked.returning(JobRow))).scalar_one_or_none()
            if found is None:
                await session.refresh(row)
                raise Conflict(f"This job has ended: it {_ended(row.state)}.")
            await self._events.publish(CANCEL_STREAM, "cancel", {"id": job_id}, session=session)
            job = shown(found)
            await announce(session, job.id)
            return job

    async def set_priority(self, job_id: str, priority: int, by: Principal) -> Job:
        """Let a waiting job go before or after others; higher goes first.

        Raises:
            Conflict: when it does not wait any more.
        """
        _check_priority(priority)
        async with self._db.session() as session:
            await _visible(session, job_id, by)
            moved = update(JobRow).where(JobRow.id == job_id, JobRow.state == "queued")
            done = await session.execute(moved.values(priority=priority).returning(JobRow))
            row = done.scalar_one_or_none()
            if row is None:
                raise Conflict("Only a job that waits can be moved.")
            await queue.set_priority(session, job_id, priority)
            if row.gated and self.gate is not None:
                await self.gate.moved(session, job_id, priority)
            job = shown(row)
            await announce(session, job.id)
            return job

    async def append_log(
        self, job_id: str, *lines: str, session: AsyncSession | None = None
    ) -> None:
        """Add lines to a job's log; past ten thousand they are dropped."""
        if session is None:
            async with self._db.session() as own:
                await self.append_log(job_id, *lines, session=own)
            return
        counted = await session.execute(
            update(JobRow)
            .where(JobRow.id == job_id, JobRow.log_lines < _MOST_LINES)
            .values(log_lines=JobRow.log_lines + len(lines))
            .returning(JobRow.log_lines, JobRow.owner_id)
        )
        found = counted.one_or_none()
        if found is None:
            return
        stream, owner = stream_of(job_id), found.owner_id
        said = [line.replace("\x00", "\N{REPLACEMENT CHARACTER}") for line in lines]
        first = found.log_lines - len(lines) + 1
        kept = [
            {"seq": seq, "text": line[:_LONGEST_LINE]} for seq, line in enumerate(said, start=first)
        ]
        await session.execute(insert(JobLogRow), [{"job_id": job_id, **line} for line in kept])
        drafts = [(stream, "job.log", line, owner) for line in kept]
        await self._events.publish_all(drafts, session)

    async def progress(
        self, job_id: str, progress: Progress, *, attempt: int | None = None
    ) -> None:
        """Say how far a running job is; with an attempt, only while that one is the newest."""
        running = update(JobRow).where(JobRow.id == job_id, JobRow.state == "running")
        if attempt is not None:
            running = running.where(JobRow.attempts == attempt)
        async with self._db.session() as session:
            told = progress.model_dump(mode="json")
            owner = await session.scalar(running.values(progress=told).returning(JobRow.owner_id))
            if owner is not None:
                stream = stream_of(job_id)
                await self._events.publish(stream, "job.progress", told, owner, session=session)


def open_jobs(db: Database, events: Events, registry: Registry) -> Jobs:
    """Return the jobs of a database, run with these tools."""
    return Jobs(db, events, Moves(registry, events))


def _check_priority(priority: int) -> None:
    if abs(priority) > MOST_PRIORITY:
        raise InvalidInput(f"A priority is -{MOST_PRIORITY} to {MOST_PRIORITY}.")


async def _visible(session: AsyncSession, job_id: str, principal: Principal) -> JobRow:
    row = await session.get(JobRow, job_id)
    if row is None or (row.owner_id != principal.id and not principal.can("jobs:admin")):
        raise NotFound(f"There is no job {job_id!r}", hint="List the jobs to see their ids.")
    return row


async def _explained(session: AsyncSession, rows: Sequence[JobRow]) -> list[Job]:
    """Return the jobs, and say so where they wait because no worker is there."""
    jobs = [shown(row) for row in rows]
    idle = [job for job in jobs if job.state is JobState.QUEUED and not job.waits_because]
    if not idle or await session.scalar(_ANY_WORKER):
        return jobs
    return [
        job.model_copy(update={"waits_because": _NO_WORKER}) if job in idle else job for job in jobs
    ]


def _ended(state: str) -> str:
    words = {"failed": "failed", "succeeded": "succeeded", "cancelled": "was cancelled"}
    return words.get(state, f"is {state.replace('_', ' ')}")


_ANY_WORKER = text(
    "SELECT EXISTS (SELECT 1 FROM job_workers "
    "WHERE heartbeat_at > clock_timestamp() - interval '10 seconds')"
)
