"""One stretch of work on a run: from where it is taken up to where it ends or waits."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

import structlog
from sqlalchemy import func, select

from nebula.errors import InternalError, NebulaError
from nebula.yaml_file import BadFile
from tools.workflows.cancelling import LAST_SECONDS, cancel_jobs, said
from tools.workflows.ending import Ending, settle
from tools.workflows.ends import seen
from tools.workflows.expressions.functions import Failed
from tools.workflows.expressions.templates import filled
from tools.workflows.models import WorkflowRow, WorkflowRunRow
from tools.workflows.outcome import Outcome, Parked, Spent
from tools.workflows.place import Place
from tools.workflows.reading import read
from tools.workflows.record import LostHold, Record
from tools.workflows.spec import FINALLY, Spec
from tools.workflows.walking import Walk

if TYPE_CHECKING:
    from nebula.app import App

log = structlog.get_logger(__name__)

Told = Literal["cancelled", "over", "stopping", "lost"]
"""Why a stretch is broken off; each breaks it off once."""


class Stretch:
    """Works on a run that this process holds."""

    def __init__(self, app: "App", workflow: WorkflowRow, run: WorkflowRunRow, holder: str) -> None:
        """Take the program, and the run as it was taken up."""
        self.last = False
        """Only what is done at the end is left, which a first cancel does not stop."""
        self._app = app
        self._workflow = workflow
        self._run = run
        self._holder = holder
        self._told: set[Told] = set()
        self._ended = False
        self.task = asyncio.create_task(self._work(), name=f"workflow-{run.id}")

    def break_off(self, why: Told) -> None:
        """Stop what is being done; what follows depends on why."""
        if why not in self._told and not self._ended:
            self._told.add(why)
            self.task.cancel()

    async def _work(self) -> None:
        began = time.monotonic()
        ending = await self._ending()
        self._ended = True  # from here on its end is written, which nothing interrupts
        if ending is None:
            return
        ending = replace(ending, seconds=time.monotonic() - began, last=self.last)
        try:
            await settle(self._app.parts, self._run.id, self._holder, ending)
        except LostHold:
            return
        if ending.state in {"cancelled", "failed"}:
            await cancel_jobs(self._app.parts, self._workflow, self._run.id)

    async def _ending(self) -> Ending | None:
        """Return how it ended; None when this process has no say in it any more."""
        if not self._run.cancel_requested:
            try:
                return await _guarded(self._run.id, self._to_end)
            except asyncio.CancelledError:
                self.last = True  # before anything else: it is broken off for this once only
                if not await self._is_cancelled():
                    raise
        self.last = True
        try:
            return await _guarded(self._run.id, self._last_steps)
        except asyncio.CancelledError:
            if not await self._is_cancelled():
                raise
            return Ending("cancelled", f"{said(self._run)} Its last steps were stopped.")

    async def _is_cancelled(self) -> bool:
        """Say whether the run is to end, and not only the work of this process."""
        if {"stopping", "lost"} & self._told:
            return False
        async with self._app.parts.db.session() as session:
            run = await session.get(WorkflowRunRow, self._run.id)
        if run is None or not run.cancel_requested:
            return False
        self._run = run
        if (task := asyncio.current_task()) is not None:
            task.uncancel()
        return True

    async def _to_end(self) -> Ending:
        """Go through all steps."""
        spec, _ = read(self._run.definition)
        record = await self._record()
        walk = Walk(self._app, spec, record)
        start = walk.start()
        try:
            end = await _main(walk, spec, start)
            after = start.after(end.within)
            end = await self._finally(walk, spec, after, end)
        except Parked as parked:
            return Ending("waiting", wake_at=parked.wake_at)
        state = "done" if end.state == "done" else "failed"
        try:
            output = filled(dict(spec.output), after.all) if state == "done" else {}
        except Failed as error:
            return Ending("failed", f"output: {error}")
        return Ending(state, end.error, output)

    async def _last_steps(self) -> Ending:
        """Go through what is done at the end whatever happened; nothing else is done any more."""
        spec, _ = read(self._run.definition)
        record = await self._record()
        await Walk(self._app, spec, record).give_up()
        await cancel_jobs(self._app.parts, self._workflow, self._run.id)
        if await self._is_over():
            return Ending("cancelled", f"{said(self._run)} Its last steps were stopped.")
        told = Walk(self._app, spec, record, over=True)
        start = told.start()
        main, _ = await told.block(spec.steps, "", start)
        cancelled = Outcome("cancelled", error=said(self._run))
        after = start.after(seen(main))
        try:
            end = await self._finally(Walk(self._app, spec, record), spec, after, cancelled)
        except Parked as parked:
            return Ending("waiting", wake_at=parked.wake_at)
        return Ending("cancelled", end.error)

    async def _finally(self, walk: Walk, spec: Spec, after: Place, main: Outcome) -> Outcome:
        self.last = True
        if not spec.finally_:
            return main
        walk.more(LAST_SECONDS)
        told = {**after.values["run"], "state": main.state, "problem": main.error}
        try:
            here = after.within({"run": told}, vouched=False)
            last = (await walk.block(spec.finally_, FINALLY, here))[1]
        except Spent:
            last = Outcome("failed", error=f"it took over {LAST_SECONDS / 60:g} minutes.")
        return _both(main, last)

    async def _is_over(self) -> bool:
        late = select(WorkflowRunRow.finish_by <= func.clock_timestamp())
        async with self._app.parts.db.session() as session:
            return bool(await session.scalar(late.where(WorkflowRunRow.id == self._run.id)))

    async def _record(self) -> Record:
        return await Record.read(self._app.parts, self._workflow, self._run, self._holder)


async def _guarded(run_id: str, work: Callable[[], Awaitable[Ending]]) -> Ending | None:
    """Return the end of some work; an error that may pass is None, and the walk begins anew."""
    try:
        return await work()
    except LostHold:
        return None
    except BadFile as error:  # an older version wrote it
        return Ending("failed", str(error))
    except NebulaError as error:
        if error.retryable:
            log.warning("workflow_waits", run=run_id, reason=str(error))
            return None  # its hold lapses
        return Ending("failed", str(error))
    except Exception:
        # The outermost handler of a run: nothing above it would hear of a bug.
        reference = uuid4().hex[:12]
        log.exception("workflow_crashed", run=run_id, reference=reference)
        return Ending("failed", str(InternalError(reference)))


async def _main(walk: Walk, spec: Spec, start: Place) -> Outcome:
    try:
        return (await walk.block(spec.steps, "", start))[1]
    except Spent:
        return Outcome("failed", error=f"Its {spec.minutes:g} minutes are used up.")


def _both(main: Outcome, last: Outcome) -> Outcome:
    """Return the end of a run: what came first explains it best."""
    if last.ok:
        return main
    if main.ok:
        return replace(main, state="failed", error=f"finally: {last.error}")
    if main.state == "cancelled":
        return replace(main, error=f"{main.error} finally: {last.error}")
    return main
