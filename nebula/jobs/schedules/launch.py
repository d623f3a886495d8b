"""Turns a tick into a job, under the owner's present rights cut down to those of the schedule."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.grant import Grant
from nebula.auth.principal import Caller, Principal, Role, Surface
from nebula.errors import InvalidInput, NebulaError, NotAuthenticated, NotFound, PermissionDenied
from nebula.jobs.schedules.schedule import Schedule, Tick, TickState
from nebula.jobs.schedules.ticker import Outcome, Ticker
from nebula.policy.ask import Verdict
from nebula.secrets.references import References, Versions, pinned
from nebula.tool.arguments import problems
from nebula.tool.asking import Asking, Request
from nebula.tool.definition import AnyTool

if TYPE_CHECKING:
    from nebula.app import Parts


@dataclass(frozen=True)
class _Due:
    """One tick, ready to be decided about."""

    tool: AnyTool
    values: BaseModel
    caller: Caller
    call_id: str
    secrets: Versions


class Launcher:
    """Submits the jobs of due schedules; what needs a person is proposed and waits for one."""

    def __init__(self, parts: "Parts") -> None:
        """Take the parts that a tick reaches."""
        self._parts = parts
        self._asking = Asking(parts)

    async def launch(self, session: AsyncSession, schedule: Schedule, due: datetime) -> Outcome:
        """Submit the job of a tick in the tick's transaction, or put it before a person."""
        try:
            tick = await self._due(schedule, due)
        except NotAuthenticated as error:
            return _gone(error)
        judge = self._parts.judge
        decision = await judge.decide(tick.tool, tick.values, tick.caller)
        if decision.verdict is Verdict.BLOCK:
            return Outcome(TickState.REFUSED, problem=decision.reason)
        if decision.verdict is not Verdict.ALLOW:
            # Its own transaction: asked again under the same call id, it is the same question.
            approval = await self._asking.ask(
                Request(tick.tool, tick.values, tick.caller, tick.call_id, decision, tick.secrets)
            )
            return Outcome(TickState.PROPOSED, approval_id=approval.id)
        return await self._submit(session, schedule, tick)

    async def settle(self, session: AsyncSession, schedule: Schedule, tick: Tick) -> Outcome | None:
        """Submit a proposed tick's job once its approval is there; None while nobody decided."""
        assert tick.approval_id is not None
        approvals = self._parts.approvals
        try:
            due = await self._due(schedule, tick.due_at)
        except (InvalidInput, NotAuthenticated, NotFound, PermissionDenied) as error:
            return Outcome(TickState.REFUSED, problem=str(error))
        approval = await approvals.of_call(due.caller.principal.id, due.call_id)
        if approval is None or approval.state == "pending":
            return None
        if approval.state != "approved":
            said = f": {approval.comment}" if approval.comment else "."
            problem = f"The approval was {approval.state.replace('_', ' ')}{said}"
            return Outcome(TickState.REFUSED, problem=problem)
        decision = await self._parts.judge.decide(due.tool, due.values, due.caller)
        if decision.verdict is Verdict.BLOCK:
            return Outcome(TickState.REFUSED, problem=decision.reason)
        try:
            await self._asking.answered(
                Request(due.tool, due.values, due.caller, due.call_id, decision, due.secrets)
            )
        except NebulaError as error:
            return Outcome(TickState.REFUSED, problem=str(error))
        await approvals.use(session, approval)
        covered = replace(due, values=pinned(due.values, due.secrets))
        return await self._submit(session, schedule, covered)

    async def _submit(self, session: AsyncSession, schedule: Schedule, due: _Due) -> Outcome:
        job = await self._parts.jobs.submit(
            session, due.tool, due.values, due.caller, due.call_id, priority=schedule.priority
        )
        line = {
            "principal": due.caller.principal.name,
            "surface": due.caller.surface.value,
            "tool": due.tool.name,
            "call_id": due.call_id,
            "session_id": due.caller.session_id,
            "outcome": "submitted",
            "detail": {"job_id": job.id, "schedule": schedule.id},
        }
        await self._parts.audit.append(session, line)
        return Outcome(TickState.FIRED, job_id=job.id)

    async def _due(self, schedule: Schedule, due: datetime) -> _Due:
        tool = self._parts.registry.get(schedule.tool)
        try:
            values = tool.input_model.model_validate(schedule.arguments)
        except ValidationError as error:  # the tool has changed since
            raise problems(tool, error) from error
        caller = Caller(
            _owner_of(schedule),
            Surface.SCHEDULE,
            session_id=schedule.session_id,
            labels=schedule.labels,
        )
        # What they may do now, and could do when they made the schedule.
        caller = replace(caller, principal=await self._parts.auth.effective(caller))
        secrets = await References(self._parts.secrets).check(tool, values, caller)
        return _Due(tool, values, caller, call_id_of(schedule.id, due), secrets)


def _owner_of(schedule: Schedule) -> Principal:
    """Return the owner with the limits of the schedule, and no right yet."""
    return Principal(
        id=schedule.owner_id,
        name=schedule.owner_name,
        role=Role.CLIENT,
        permissions=frozenset(),
        key_id=schedule.rights.key_id,
        frozen=Grant(frozenset(schedule.rights.permissions), frozenset(schedule.rights.denied)),
    )


def call_id_of(schedule_id: str, due: datetime) -> str:
    """Return the id under which a tick's call is on record: the same for the same tick."""
    return f"schedule:{schedule_id}:{due.astimezone(UTC):%Y%m%dT%H%M%S%f}"


def _gone(error: NotAuthenticated) -> Outcome:
    return Outcome(TickState.REFUSED, problem=f"Its owner is gone: {error}", stop=True)


@asynccontextmanager
async def ticking(parts: "Parts", *, poll_seconds: float = 1.0) -> AsyncIterator[Ticker]:
    """Fire schedules until the end of the block; any number of processes may do so at once."""
    launcher = Launcher(parts)
    ticker = Ticker(parts.db, launcher.launch, launcher.settle, poll_seconds=poll_seconds)
    running = asyncio.create_task(ticker.run(), name="schedules")
    try:
        yield ticker
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
