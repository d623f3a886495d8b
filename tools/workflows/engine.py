"""Lets workflows run: takes up what is due, goes on with what waited, and ends what is cancelled.

Any number of processes may do so at once. A run is held by one of them, which says every few
seconds that it lives; when it falls silent, another begins the walk anew from the record.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import func, select, text, update

from nebula.auth.tokens import new_id
from nebula.errors import NebulaError
from tools.workflows.ending import announce
from tools.workflows.listening import listen
from tools.workflows.models import WorkflowRow, WorkflowRunRow
from tools.workflows.record import hold, still_held
from tools.workflows.runs import Runs
from tools.workflows.stretch import Stretch

if TYPE_CHECKING:
    from nebula.app import App

log = structlog.get_logger(__name__)

_AT_ONCE = 8
_PRUNE_EVERY = 3600.0

# A run can go on once something that it waits for is there; the row is looked at again under lock.
_DUE = text(
    "SELECT r.id, r.workflow_id FROM workflow_runs r WHERE NOT (r.id = ANY(:working)) AND ("
    " r.state = 'queued' AND NOT EXISTS (SELECT 1 FROM workflow_runs o"
    "   WHERE o.workflow_id = r.workflow_id AND o.state IN ('running', 'waiting'))"
    " OR r.state = 'running' AND r.held_until < clock_timestamp()"
    " OR r.state = 'waiting' AND (r.wake_at <= clock_timestamp()"
    "   OR EXISTS (SELECT 1 FROM workflow_steps s"
    "     LEFT JOIN approvals a ON a.id = s.approval_id LEFT JOIN jobs j ON j.id = s.job_id"
    "     WHERE s.run_id = r.id AND s.state = 'waiting' AND ("
    "       s.job_id IS NOT NULL AND (j.id IS NULL OR j.state NOT IN ('queued', 'running'))"
    "        OR s.job_id IS NULL AND s.approval_id IS NOT NULL AND (a.id IS NULL"
    "          OR a.state <> 'pending' OR a.expires_at < clock_timestamp())))))"
    " ORDER BY r.created_at LIMIT :most"
)


class Engine:
    """Works on the runs of workflows, in one process."""

    def __init__(self, app: "App") -> None:
        """Take the program."""
        self._app = app
        self._parts = app.parts
        self._runs = Runs(app.parts)
        self._holder = new_id("flow")
        self._working: dict[str, Stretch] = {}
        self._pruned = float("-inf")

    async def beat(self) -> None:
        """Do what is due: hear of events, begin and go on with runs, end cancelled ones."""
        await self._live()  # first: whatever else goes wrong, what runs is not taken for lost
        await listen(self._parts, self._runs)
        await self._take_up()
        if time.monotonic() - self._pruned > _PRUNE_EVERY:
            await self._runs.prune()
            self._pruned = time.monotonic()

    async def idle(self) -> None:
        """Wait until nothing is worked on in this process."""
        while tasks := self._tasks():
            await asyncio.wait(tasks)

    async def _take_up(self) -> None:
        room = _AT_ONCE - len(self._working)
        if room <= 0:
            return
        values = {"working": list(self._working), "most": room * 2}
        async with self._parts.db.session() as session:
            due = [(row[0], row[1]) for row in await session.execute(_DUE, values)]
        for run_id, workflow_id in due:
            if len(self._working) >= _AT_ONCE:
                return
            held = await self._hold(run_id, workflow_id)
            if held is not None:
                stretch = self._working[run_id] = Stretch(self._app, *held, self._holder)
                stretch.task.add_done_callback(partial(self._over, run_id))

    def _over(self, run_id: str, _task: asyncio.Task[None]) -> None:
        self._working.pop(run_id, None)

    async def _hold(
        self, run_id: str, workflow_id: str
    ) -> tuple[WorkflowRow, WorkflowRunRow] | None:
        """Take a run up, unless somebody else was quicker."""
        async with self._parts.db.session() as session:
            workflow = await session.scalar(
                select(WorkflowRow)
                .where(WorkflowRow.id == workflow_id)
                .with_for_update(skip_locked=True)
            )
            if workflow is None:
                return None
            others = select(WorkflowRunRow.id).where(
                WorkflowRunRow.workflow_id == workflow_id,
                WorkflowRunRow.id != run_id,
                WorkflowRunRow.state.in_(("running", "waiting")),
            )
            run = await session.scalar(
                select(WorkflowRunRow)
                .where(
                    WorkflowRunRow.id == run_id,
                    WorkflowRunRow.state.in_(("queued", "waiting"))
                    | (WorkflowRunRow.held_until < func.clock_timestamp()),
                    WorkflowRunRow.state.in_(("queued", "waiting", "running")),
                )
                .with_for_update(skip_locked=True)
            )
            if run is None or await session.scalar(others.limit(1)) is not None:
                return None
            begins = run.state == "queued"
            await hold(session, run, self._holder)
            if begins:
                await announce(self._parts, session, workflow, run)
            return workflow, run

    async def _live(self) -> None:
        """Say that this process lives, and stop what is cancelled or was taken over."""
        if not self._working:
            return
        held = await still_held(self._parts, list(self._working), self._holder)
        for run_id, stretch in list(self._working.items()):
            told = held.get(run_id)
            if told is None:
                stretch.break_off("lost")
            elif told.over:
                stretch.break_off("over")
            elif told.cancelled and not stretch.last:
                stretch.break_off("cancelled")

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [stretch.task for stretch in self._working.values()]

    async def stop(self, grace_seconds: float) -> None:
        """Let running calls end for a moment, then let go of everything."""
        if tasks := self._tasks():
            await asyncio.wait(tasks, timeout=grace_seconds)
        for stretch in list(self._working.values()):
            stretch.break_off("stopping")
        if tasks := self._tasks():
            await asyncio.wait(tasks)
        mine = update(WorkflowRunRow).where(
            WorkflowRunRow.held_by == self._holder, WorkflowRunRow.state == "running"
        )
        async with self._parts.db.session() as session:
            await session.execute(mine.values(held_until=func.clock_timestamp()))


@asynccontextmanager
async def working(
    app: "App", *, poll_seconds: float = 1.0, grace_seconds: float = 10.0
) -> AsyncIterator[Engine]:
    """Work on runs until the end of the block."""
    engine = Engine(app)
    beating = asyncio.create_task(_again_and_again(engine, poll_seconds), name="workflows")
    try:
        yield engine
    finally:
        beating.cancel()
        await asyncio.wait([beating])
        await engine.stop(grace_seconds)


async def _again_and_again(engine: Engine, poll_seconds: float) -> None:
    while True:
        try:
            await engine.beat()
        except NebulaError as error:
            log.warning("workflows_wait", reason=str(error))
        except Exception:
            # The outermost handler of this work: nothing above it would hear of a bug.
            log.exception("workflows_crashed")
        await asyncio.sleep(poll_seconds)
