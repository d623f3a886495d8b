"""A worker: takes jobs from the queue, shows that it is alive, and heals what others left.

procrastinate's worker ends when the database goes away; it is started again with back-off. The
runs are not its children: they go on, and report when the database is back.
"""

import asyncio
import logging
import os
import random
import socket
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from uuid import uuid4

import structlog
from procrastinate import JobContext
from sqlalchemy import text

from nebula.app import App
from nebula.db.engine import Database
from nebula.errors import NebulaError
from nebula.jobs.forgetting import keep_forgetting
from nebula.jobs.moves import Run
from nebula.jobs.outcome import Broken
from nebula.jobs.pace import Pace
from nebula.jobs.queue import QUEUE, TASK, opened, transport
from nebula.jobs.recovery import APPLICATION, SUFFIX, lose, recover
from nebula.jobs.runner import Runner
from nebula.jobs.service import CANCEL_STREAM

log = structlog.get_logger(__name__)

_POLL_SECONDS = 1.0
_SHORTEST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_TOLD_AGAIN_SECONDS = 1.0
_SOUND_SECONDS = 10.0
"""How long the transport must have run for its next end to count as the first again."""
_CONNECTIONS = 4

_BEAT = text(
    "INSERT INTO job_workers (id) VALUES (:id) "
    "ON CONFLICT (id) DO UPDATE SET heartbeat_at = clock_timestamp()"
)
_MINE = text(
    "SELECT id, attempts, cancel_requested FROM jobs WHERE worker = :id AND state = 'running'"
)
_LEAVE = text("DELETE FROM job_workers WHERE id = :id")


class Worker:
    """Runs jobs in this process, so many at once."""

    def __init__(
        self, worker_id: str, app: App, db: Database, concurrency: int, pace: Pace
    ) -> None:
        """Take its name, the App whose tools run, a pool of its own, and how many jobs at once."""
        self.id = worker_id
        self._app = app
        self._db = db
        self._concurrency = concurrency
        self._pace = pace
        self._slots = asyncio.Semaphore(concurrency)
        self._runner = Runner(app, db, self.id, pace)
        self._takes: set[asyncio.Task[None]] = set()
        self._strays: set[Run] = set()

    async def serve(self) -> None:
        """Take jobs from the queue for good; the transport is started again whenever it ends."""
        pause = _SHORTEST_PAUSE_SECONDS
        while not _told_to_stop():
            began = time.monotonic()
            try:
                await self._db.ping()
                await self._transport()
            except Exception as error:  # noqa: BLE001 - whatever ended it, it is started again
                log.warning("job_queue_away", error=type(error).__name__)
            if time.monotonic() - began > _SOUND_SECONDS:
                pause = _SHORTEST_PAUSE_SECONDS
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - only spreads
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _transport(self) -> None:
        # What ends it is told by `serve`, in one line instead of a page.
        logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
        queue = transport(self._db.conninfo, connections=_CONNECTIONS)
        queue.task(name=TASK, pass_context=True)(self._take)
        async with opened(queue):
            await queue.run_worker_async(
                queues=[QUEUE],
                name=self.id,
                concurrency=self._concurrency,
                fetch_job_polling_interval=_POLL_SECONDS,
                # Ours are told by their record; nobody asks procrastinate to abort one.
                abort_job_polling_interval=3600.0,
                shutdown_graceful_timeout=0.0,
                update_heartbeat_interval=self._pace.beat,
                stalled_worker_timeout=self._pace.stalled * 2,
                delete_jobs="always",
                install_signal_handlers=False,
            )

    async def _take(self, context: JobContext, job_id: str) -> None:
        """Run the job of a row of the queue; it goes on when the transport ends."""
        queue_id = context.job.id
        assert queue_id is not None
        task = asyncio.create_task(self._run(job_id, queue_id), name=f"take {job_id}")
        self._takes.add(task)
        task.add_done_callback(self._takes.discard)
        await asyncio.shield(task)

    async def _run(self, job_id: str, queue_id: int) -> None:
        async with self._slots:
            try:
                await self._runner.take(job_id, queue_id)
            except Exception:  # its record stays as it is, and recovery finds it
                log.exception("job_run_broke", job=job_id)

    async def live(self) -> None:
        """Show every second that this worker is alive, and heal what others left."""
        since: float | None = None
        while not _told_to_stop():
            began = time.monotonic()
            try:
                async with asyncio.timeout(self._pace.stalled):
                    await self.beat()
                    since = since or began
                    # After an outage every heartbeat is old: first, everyone gets to beat.
                    if began - since > self._pace.stalled:
                        await self._heal()
            except Exception as error:  # noqa: BLE001 - the heart goes on
                since = None
                log.warning("job_heartbeat_failed", error=str(error))
            await asyncio.sleep(max(0.05, self._pace.beat - (time.monotonic() - began)))

    async def beat(self) -> None:
        """Show once that this worker is alive, and see what became of its runs."""
        before = self._runner.running
        async with self._db.session() as session:
            await session.execute(_BEAT, {"id": self.id})
            rows = (await session.execute(_MINE, {"id": self.id})).all()
            mine = {Run(row.id, row.attempts): row.cancel_requested for row in rows}
            strays = mine.keys() - before
            for run in strays & self._strays:
                await lose(self._app, session, run.job_id)
            self._strays = strays
        for run in before:
            if run not in mine:
                self._runner.stop(run, Broken.SUPERSEDED)
            elif mine[run]:
                self._runner.stop(run, Broken.CANCELLED)

    async def _heal(self) -> None:
        async with self._db.session() as session:
            healed = await recover(self._app, session, self._pace)
        if healed:
            log.warning("jobs_recovered", jobs=healed)

    async def hear_cancels(self) -> None:
        """Stop a run as soon as somebody cancels it, without waiting for the next heartbeat."""
        async for event in self._app.parts.events.follow(CANCEL_STREAM, await self._news()):
            for run in self._runner.running:
                if run.job_id == event.data["id"]:
                    self._runner.stop(run, Broken.CANCELLED)

    async def _news(self) -> int:
        """Return the number of the last cancellation before now."""
        while True:
            try:
                return await self._app.parts.events.last(CANCEL_STREAM)
            except NebulaError:
                await asyncio.sleep(self._pace.beat)

    async def finish(self, grace_seconds: float) -> None:
        """Let the runs end; those that take longer are broken off, and queued again if they may."""
        await _ended(self._takes, grace_seconds)
        for run in self._runner.running:
            self._runner.stop(run, Broken.STOPPING)
        self._runner.gives_up_at = time.monotonic() + self._pace.last_word
        await _ended(self._takes, 2 * self._pace.last_word)
        for task in self._takes:
            task.cancel()
        await _ended(self._takes, self._pace.last_word)

    async def leave(self) -> None:
        """Take back the sign of life, so that nobody waits for this worker."""
        try:
            async with self._db.session() as session:
                await session.execute(_LEAVE, {"id": self.id})
        except NebulaError as error:
            log.warning("job_worker_left_unseen", error=str(error))


@asynccontextmanager
async def open_worker(
    app: App, concurrency: int, *, grace_seconds: float = 3.0, pace: Pace | None = None
) -> AsyncIterator[Worker]:
    """Run jobs until the end of the block; then running ones get a moment to finish."""
    conninfo = app.parts.db.conninfo
    mark = uuid4().hex[:SUFFIX]
    async with Database(conninfo, pool_size=2, application_name=f"{APPLICATION}{mark}") as db:
        worker_id = f"{socket.gethostname()}-{os.getpid()}-{mark}"
        worker = Worker(worker_id, app, db, concurrency, pace or Pace())
        await worker.beat()
        serving = asyncio.create_task(worker.serve(), name="job queue")
        living = [
            asyncio.create_task(worker.live(), name="job heartbeat"),
            asyncio.create_task(worker.hear_cancels(), name="job cancels"),
            asyncio.create_task(
                keep_forgetting(db, app.parts.settings.jobs_kept_days), name="job caretaker"
            ),
        ]
        try:
            yield worker
        finally:
            await _stopped([serving])
            await worker.finish(grace_seconds)
            await _stopped(living)
            await worker.leave()


def _told_to_stop() -> bool:
    """Say whether this task was cancelled: a library may have put an error in place of that."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _ended(tasks: Collection[asyncio.Task[None]], seconds: float) -> None:
    if tasks:
        await asyncio.wait(list(tasks), timeout=seconds)


async def _stopped(tasks: Collection[asyncio.Task[None]]) -> None:
    """Stop tasks; one that a library kept from hearing it is told again."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_TOLD_AGAIN_SECONDS)
