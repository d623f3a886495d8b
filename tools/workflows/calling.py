"""One call of a step: made once, told again after a crash, tried again where that is safe."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from nebula.auth.frozen import Frozen
from nebula.auth.principal import Caller, Surface
from nebula.errors import (
    ApprovalRequired,
    Conflict,
    InvalidInput,
    NebulaError,
    OutcomeUnknown,
    StillRunning,
    StoredError,
    TimedOut,
    TooLarge,
    UpstreamRejected,
    by_code,
)
from nebula.jobs.job import Job, JobHandle, JobState
from nebula.policy.labels import Label, tainted
from nebula.policy.plan import Plan
from nebula.policy.plan import Step as PlannedStep
from nebula.tool.arguments import checked
from nebula.tool.definition import AnyTool, Effect, EffectKind
from nebula.tool.envelope import shown_arguments
from nebula.tool.result import Result
from tools.workflows.models import WorkflowStepRow
from tools.workflows.outcome import Outcome, Parked, told
from tools.workflows.record import Closing, Opening, Record
from tools.workflows.spec import Retry

if TYPE_CHECKING:
    from nebula.app import App

_LARGEST = 1_000_000
"""Characters of a result as JSON, for what is passed on."""
_USUAL = Retry(times=2, wait=5.0)
_LONGEST_WAIT = timedelta(hours=1)
_LOOK_AGAIN = timedelta(seconds=5)
_OURS = frozenset(
    {
        "permission_denied",
        "invalid_input",
        "rate_limited",
        "paused",
        "timed_out",
        "internal_error",
        "not_authenticated",
    }
)
"""Errors that the executor gives in its own words, whatever the tool reads."""


@dataclass(frozen=True)
class Wanted:
    """A call that a step makes, before its arguments are worked out."""

    path: str
    step: str
    tool: str
    arguments: Mapping[str, Any]
    vouched: frozenset[str]
    """The arguments whose values the owner fixed, or whoever gave the inputs."""
    retry: Retry | None = None
    timeout: float | None = None


class Calls:
    """Makes the calls of one run through the executor, as its owner with the rights kept for it."""

    def __init__(self, app: "App", record: Record) -> None:
        """Take the program, and what is known of the run."""
        self._app = app
        self._record = record
        self._rights = Frozen.model_validate(record.run.rights)

    def known(self, path: str) -> WorkflowStepRow | None:
        """Return the try of a path that counts, if one was begun."""
        row = self._record.tries.get(path)
        return None if row is None or row.superseded else row

    async def begun(self, wanted: Wanted) -> WorkflowStepRow:
        """Write a call's arguments and what was read before it; from then on they are fixed."""
        before = self._record.tries.get(wanted.path)
        number = 1 if before is None else before.try_ + 1
        return await self._record.begin(self._opening(wanted, number, self._record.read_labels))

    async def outcome(self, wanted: Wanted, row: WorkflowStepRow) -> Outcome:
        """Make the call of a begun try, or tell again what came of it.

        Raises:
            Parked: while a person, a job or a moment is waited for.
        """
        while True:
            match row.state:
                case "done":
                    return told(row)
                case "running" | "waiting" if row.job_id is not None:
                    row = await self._job(wanted, row)
                case "running" | "waiting":
                    row = await self._made(wanted, row)
                case _:
                    following = await self._again(wanted, row)
                    if following is None:
                        return told(row)
                    row = following

    async def give_up(self, row: WorkflowStepRow) -> None:
        """Write of a try that is under way that the run was cancelled."""
        if row.state == "waiting" or not row.tool:
            error = Conflict("The run was cancelled.").payload()
            await self._record.close(row, Closing("cancelled", error=error))
        else:
            await self._broken_off(self._app.executor.registry.get(row.tool), row)

    def _opening(
        self, wanted: Wanted, number: int, labels: frozenset[Label], at: datetime | None = None
    ) -> Opening:
        call_id = f"{self._record.run.id}:{wanted.path}"
        return Opening(
            path=wanted.path,
            try_=number,
            step=wanted.step,
            tool=wanted.tool,
            call_id=call_id if number == 1 else f"{call_id}#{number}",
            arguments=wanted.arguments,
            labels=labels,
            not_before=at,
        )

    async def _made(self, wanted: Wanted, row: WorkflowStepRow) -> WorkflowStepRow:
        if row.not_before is not None and row.not_before > datetime.now(UTC):
            raise Parked(row.not_before)
        tool = self._app.executor.registry.get(row.tool)
        try:
            async with asyncio.timeout(wanted.timeout):
                result = await self._app.executor.execute(
                    row.tool,
                    row.arguments,
                    caller=self._caller(tool, wanted, row),
                    call_id=row.call_id,
                )
        except ApprovalRequired as waiting:
            told: dict[str, object] = {"code": waiting.code, "detail": str(waiting)}
            approval = waiting.approval_id
            await self._record.close(row, Closing("waiting", error=told, approval_id=approval))
            raise Parked from waiting
        except StillRunning as error:
            # Another process was killed in the middle of it: its time must be over first.
            raise Parked(datetime.now(UTC) + _LOOK_AGAIN) from error
        except TimeoutError:
            return await self._failed(tool, row, _overran(tool, wanted))
        except NebulaError as error:
            return await self._failed(tool, row, error)
        except asyncio.CancelledError:
            await asyncio.shield(self._broken_off(tool, row))
            raise
        if isinstance(result, JobHandle):
            return await self._record.close(row, Closing("waiting", job_id=result.job_id))
        return await self._done(tool, row, result)

    async def _job(self, wanted: Wanted, row: WorkflowStepRow) -> WorkflowStepRow:
        """Look how a step's job is doing."""
        assert row.job_id is not None
        jobs, who = self._app.parts.jobs, self._rights.principal(*self._owner)
        job = await jobs.get(row.job_id, who)
        tool = self._app.executor.registry.get(row.tool)
        if job.state is JobState.SUCCEEDED:
            return await self._done(tool, row, tool.output_model.model_validate(job.result))
        if job.state.ended:
            return await self._failed(tool, row, _of_job(job))
        if wanted.timeout is None:
            raise Parked
        over = row.started_at + timedelta(seconds=wanted.timeout)
        if datetime.now(UTC) < over:
            raise Parked(over)
        await jobs.cancel(row.job_id, who)
        return await self._failed(tool, row, _overran(tool, wanted))

    @property
    def _owner(self) -> tuple[str, str]:
        return self._record.workflow.owner_id, self._record.workflow.owner_name

    def _caller(self, tool: AnyTool, wanted: Wanted, row: WorkflowStepRow) -> Caller:
        """Return who calls: the owner, who fixed this step when they saved the workflow.

        What the definition or the inputs name vouches for itself, unless they came by way of text
        from outside. What other steps found out does not.
        """
        plan = Plan()
        if not tainted(frozenset(map(Label, self._record.workflow.labels))):
            shown = shown_arguments(checked(tool, row.arguments))
            fixed = {
                name: shown[name]
                for name in tool.places
                if name in wanted.vouched and shown.get(name) is not None
            }
            plan = Plan((PlannedStep(tool.name, fixed, row.call_id, by_words=True),))
        return Caller(
            self._rights.principal(*self._owner),
            Surface.SCHEDULE,
            agent=f"workflow {self._record.workflow.name}",
            labels=frozenset(map(Label, row.labels)),
            plan=plan,
        )

    async def _done(self, tool: AnyTool, row: WorkflowStepRow, result: Result) -> WorkflowStepRow:
        kept = result.model_dump(mode="json")
        outside = tool.outside and result.origin() is Label.OUTSIDE
        gives = {*([Label.OUTSIDE] if outside else []), *([] if tool.public else [Label.PRIVATE])}
        if len(json.dumps(kept)) > _LARGEST:
            said = TooLarge("The result is too large to be passed on.").payload()
            return await self._record.close(row, Closing("failed", error=said, gives=gives))
        return await self._record.close(row, Closing("done", kept, gives=gives))

    async def _failed(
        self, tool: AnyTool, row: WorkflowStepRow, error: NebulaError
    ) -> WorkflowStepRow:
        quotes = error.outside and not isinstance(error, StoredError)
        outside = quotes or (tool.outside and error.code not in _OURS)
        gives = [Label.OUTSIDE] if outside else []
        state = "unknown" if error.code == OutcomeUnknown.code else "failed"
        return await self._record.close(row, Closing(state, error=error.payload(), gives=gives))

    async def _broken_off(self, tool: AnyTool, row: WorkflowStepRow) -> None:
        """Note that a call was cut off; what can be repeated will be."""
        unknown = tool.effect is not Effect.READ and tool.kind is EffectKind.OPAQUE
        if unknown:
            told = OutcomeUnknown(f"{tool.name} was cut off in the middle.").payload()
            await self._record.close(row, Closing("unknown", error=told))
        else:
            told = Conflict(f"{tool.name} was cut off.").payload()
            await self._record.close(row, Closing("cancelled", error=told, superseded=True))

    async def _again(self, wanted: Wanted, row: WorkflowStepRow) -> WorkflowStepRow | None:
        """Begin the next try of a call that failed, where that is safe and may help."""
        tool = self._app.executor.registry.get(row.tool)
        retry = wanted.retry or _USUAL
        code = str((row.error or {}).get("code", ""))
        if row.state != "failed" or row.try_ > retry.times or not _repeatable(tool):
            return None
        if not by_code(code).retryable:
            return None
        wait = timedelta(seconds=retry.wait * 2 ** (row.try_ - 1))
        at = datetime.now(UTC) + min(wait, _LONGEST_WAIT)
        # The same arguments, read after the same things: only the try is another.
        labels = frozenset(map(Label, row.labels))
        return await self._record.begin(self._opening(wanted, row.try_ + 1, labels, at))


def _repeatable(tool: AnyTool) -> bool:
    return tool.effect is Effect.READ or tool.kind is not EffectKind.OPAQUE


def _overran(tool: AnyTool, wanted: Wanted) -> NebulaError:
    said = f"{tool.name} took over {wanted.timeout:g} s."
    if not _repeatable(tool):
        return OutcomeUnknown(said, hint="Look at the present state before you try again.")
    return TimedOut(said)


def _of_job(job: Job) -> NebulaError:
    """Return what a job that did not succeed means for its step."""
    error = job.error or {}
    said = str(error.get("detail", "")) or f"Its job is {job.state.value.replace('_', ' ')}."
    if job.state is JobState.UNKNOWN:
        return OutcomeUnknown(said)
    if job.state is JobState.TIMED_OUT:
        return TimedOut(said)
    kind = by_code(str(error.get("code", "")))
    # A job was tried as often as its kind allows already.
    return InvalidInput(said) if kind is InvalidInput else UpstreamRejected(said)
