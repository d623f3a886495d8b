"""Lets workflows run: takes up what is due, goes on with what waited, and ends what is cancelled.

Any number of processes may do so at once. A run is held by one of them, which says every few
seconds that it lives; when it falls silent, another begins the walk anew from the record.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog
from sqlalchemy import func, select, text, update

from nebula.auth.tokens import new_id
from nebula.errors import InternalError, NebulaError
from nebula.yaml_file import BadFile
from tools.workflows.ending import Ending, announce, settle
from tools.workflows.expressions.functions import Failed
from tools.workflows.expressions.templates import filled
from tools.workflows.listening import listen
from tools.workflows.models import WorkflowRow, WorkflowRunRow
from tools.workflows.outcome import Outcome, Parked, Spent
from tools.workflows.reading import read
from tools.workflows.record import LostHold, Record, hold, still_held
from tools.workflows.runs import Runs, cancel_jobs
from tools.workflows.spec import Spec
from tools.workflows.walking import Place, Walk

if TYPE_CHECKING:
    from nebula.app import App

log = structlog.get_logger(__name__)

_AT_ONCE = 8
_PRUNE_EVERY = 3600.0
_LAST_SECONDS = 300.0
"""What `finally` may take beyond a run's minutes."""

# A run can go on once something that it waits for is there; the row is looked at again under lock.
_DUE = text(
    "SELECT r.id, r.workflow_id FROM workflow_runs r WHERE NOT (r.id = ANY(:working)) AND ("
    " r.state = 'queued' AND NOT EXISTS (SELECT 1 FROM workflow_runs o"
    "   WHERE o.workflow_id = r.workflow_id AND o.state IN ('running', 'waiting'))"
    " OR r.state = 'running' AND r.held_until < clock_timestamp()"
    " OR r.state = 'waiting' AND (r.cancel_requested OR r.wake_at <= clock_timestamp()"
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
        self._working: dict[str, asyncio.Task[None]] = {}
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
        while self._working:
            await asyncio.wait(self._working.values())

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
                work = asyncio.create_task(self._work(*held), name=f"workflow-{run_id}")
                self._working[run_id] = work
                work.add_done_callback(partial(self._over, run_id))

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
        for run_id, work in list(self._working.items()):
            if held.get(run_id, True):
                work.cancel()

    async def _work(self, workflow: WorkflowRow, run: WorkflowRunRow) -> None:
        """Walk through a run as far as it goes now."""
        began = time.monotonic()
        ending = await self._ending(workflow, run)
        if ending is None:
            return
        ending = replace(ending, seconds=time.monotonic() - began)
        try:
            await settle(self._parts, run.id, self._holder, ending)
        except LostHold:
            return
        if ending.state in {"cancelled", "failed"}:
            await cancel_jobs(self._parts, workflow, run.id)

    async def _ending(self, workflow: WorkflowRow, run: WorkflowRunRow) -> Ending | None:
        """Return how a stretch of work ended; None when this process has no say in it any more."""
        try:
            if run.cancel_requested:
                return Ending("cancelled", "It was cancelled.")
            return await self._walked(read(run.definition)[0], workflow, run)
        except asyncio.CancelledError:
            if not await self._to_end(run.id):
                raise
            return Ending("cancelled", "It was cancelled.")
        except LostHold:
            return None
        except BadFile as error:  # an older version wrote it
            return Ending("failed", str(error))
        except NebulaError as error:
            if error.retryable:
                log.warning("workflow_waits", run=run.id, reason=str(error))
                return None  # its hold lapses, and the walk begins anew
            return Ending("failed", str(error))
        except Exception:
            # The outermost handler of a run: nothing above it would hear of a bug.
            reference = uuid4().hex[:12]
            log.exception("workflow_crashed", run=run.id, reference=reference)
            return Ending("failed", str(InternalError(reference)))

    async def _to_end(self, run_id: str) -> bool:
        """Say whether a run is to be ended: it was cancelled, and not only this process stopped."""
        async with self._parts.db.session() as session:
            asked = select(WorkflowRunRow.cancel_requested).where(WorkflowRunRow.id == run_id)
            return bool(await session.scalar(asked))

    async def _walked(self, spec: Spec, workflow: WorkflowRow, run: WorkflowRunRow) -> Ending:
        record = await Record.read(self._parts, workflow, run, self._holder)
        walk = Walk(self._app, spec, record)
        start = walk.start()
        try:
            end = await _main(walk, spec, start)
            after = start.after(end.within)
            if spec.finally_:
                walk.more(_LAST_SECONDS)
                told = {**start.values["run"], "state": end.state, "problem": end.error}
                last = after.within({"run": told}, vouched=False)
                end = _both(end, (await walk.block(spec.finally_, "finally/", last))[1])
        except Parked as parked:
            return Ending("waiting", wake_at=parked.wake_at)
        state = "done" if end.state == "done" else "failed"
        try:
            output = filled(dict(spec.output), after.all) if state == "done" else {}
        except Failed as error:
            return Ending("failed", f"output: {error}")
        return Ending(state, end.error, output)

    async def stop(self, grace_seconds: float) -> None:
        """Let running calls end for a moment, then let go of everything."""
        if self._working:
            await asyncio.wait(self._working.values(), timeout=grace_seconds)
        left = list(self._working.values())
        for work in left:
            work.cancel()
        if left:
            await asyncio.wait(left)
        mine = update(WorkflowRunRow).where(
            WorkflowRunRow.held_by == self._holder, WorkflowRunRow.state == "running"
        )
        async with self._parts.db.session() as session:
            await session.execute(mine.values(held_until=func.clock_timestamp()))


async def _main(walk: Walk, spec: Spec, start: Place) -> Outcome:
    try:
        return (await walk.block(spec.steps, "", start))[1]
    except Spent:
        return Outcome("failed", error=f"Its {spec.minutes:g} minutes are used up.")


def _both(main: Outcome, last: Outcome) -> Outcome:
    """Return the end of a run: what came first explains it best."""
    if main.ok and not last.ok:
        return replace(main, state="failed", error=f"finally: {last.error}")
    return main


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
