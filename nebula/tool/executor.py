"""The one way to run a tool, whoever asks.

Look up, authorize, validate, replay, decide, limit, run, check, audit. The order is a
security property: nobody learns about arguments or past results of a tool they may not use.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any, ParamSpec, TypeVar, cast
from uuid import uuid4

import structlog
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.app import Parts
from nebula.auth.principal import Caller, Principal, Surface
from nebula.db.bare import Bare, Statements, bare_in
from nebula.errors import (
    InternalError,
    NebulaError,
    OutcomeUnknown,
    Paused,
    PermissionDenied,
    RateLimited,
    StillRunning,
    TimedOut,
)
from nebula.jobs.asked import owner_of
from nebula.jobs.job import JobHandle, JobState, new_job_id
from nebula.jobs.run import JobRun
from nebula.policy.ask import Decision, Verdict
from nebula.secrets.redact import LIVE
from nebula.secrets.references import References, pinned
from nebula.tool.approval import Approval
from nebula.tool.arguments import checked, parse
from nebula.tool.asking import Asking, Request
from nebula.tool.bound import Bound
from nebula.tool.call import Call, audit_line, broken_off, state_of
from nebula.tool.context import Calls, Context
from nebula.tool.definition import AnyTool, Effect, EffectKind
from nebula.tool.envelope import arguments_sha256
from nebula.tool.judge import cost_of
from nebula.tool.ledger import CallKey, Ledger
from nebula.tool.metrics import observe
from nebula.tool.pause import Stopped
from nebula.tool.registry import Registry
from nebula.tool.result import Result

P = ParamSpec("P")
R = TypeVar("R", bound=Result)

log = structlog.get_logger(__name__)


class Executor:
    """Runs tools."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts that tools may reach."""
        self._parts = parts
        self._references = References(parts.secrets)
        self._ledger = Ledger(parts.db)
        self._asking = Asking(parts)
        self._runs: dict[str, JobRun] = {}
        self._effects: set[asyncio.Timeout] = set()
        # The same callers ask in every turn; a changed right makes another caller.
        self._offered = lru_cache(maxsize=256)(self._decided)

    @property
    def registry(self) -> Registry:
        """Return every tool of the running system."""
        return self._parts.registry

    def visible(self, principal: Principal, *, by_model: bool, surface: Surface) -> list[AnyTool]:
        """List the tools this principal may be offered through a door."""
        judge = self._parts.judge
        caller = Caller(principal, surface, by_model=by_model)
        return list(self._offered(caller, judge.version))

    def _decided(self, caller: Caller, _version: str) -> tuple[AnyTool, ...]:
        judge = self._parts.judge
        return tuple(t for t in self.registry if judge.standing(t, caller).verdict != Verdict.BLOCK)

    def stop_effects(self, stopped: Stopped) -> None:
        """Break off every effect that runs in this process: everything was paused."""
        log.warning("effects_paused", running=len(self._effects), reason=str(stopped))
        for limit in self._effects:
            limit.reschedule(asyncio.get_running_loop().time())

    def bound(self, caller: Caller, prefix: str) -> Calls:
        """Return the executor for one caller; call ids are numbered under the prefix."""
        return Bound(self, caller, prefix)

    async def execute(
        self,
        name: str,
        arguments: Mapping[str, Any] | bytes,
        *,
        caller: Caller,
        call_id: str,
    ) -> Result:
        """Run a tool once for a caller and record it; the same call again tells its outcome.

        Raises:
            ApprovalRequired: when a person must decide first; call again when they have.
            NebulaError: as the tool or the policy says; a bug shows as InternalError.
        """
        return await self._told(Call(name, caller, call_id), arguments)

    async def submit(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        caller: Caller,
        call_id: str,
        priority: int = 0,
    ) -> JobHandle:
        """Let a worker run a tool as a job; who may, and what a person must say, is the same.

        Raises:
            ApprovalRequired: when a person must decide first; call again when they have.
            NebulaError: as the policy says.
        """
        call = Call(name, caller, call_id, as_job=True, priority=priority)
        return cast("JobHandle", await self._told(call, arguments))

    async def run_job(self, run: JobRun) -> Result:
        """Run a claimed job's tool, as its owner and with the rights they have now.

        Nobody is asked again: the approval was used up when the job was submitted.

        Raises:
            NebulaError: as the tool says, or because the owner may not use it any more.
        """
        job = run.job
        tool = self.registry.get(job.tool)
        caller = await owner_of(run, self._parts.auth)
        caller = replace(caller, principal=await self._parts.auth.effective(caller))
        values = _validated(tool, job.arguments)
        _refuse_blocked(await self._parts.judge.run_on(tool, caller))
        self._runs[job.id] = run
        try:
            async with run.holding(self._parts.jobs.gate):
                run.trace.started = True
                return await self._run(tool, values, caller, job.call_id)
        finally:
            del self._runs[job.id]

    async def _told(self, call: Call, arguments: Mapping[str, Any] | bytes) -> Result:
        """Take a call through every step, and record how it ended."""
        name = call.name
        started = time.perf_counter()
        outcome = "ok"
        try:
            result = await self._steps(call, arguments)
            await self._record(call, outcome, result=result)
            return result
        except asyncio.CancelledError:
            outcome = "cancelled"
            await asyncio.shield(self._record(call, outcome, error=broken_off(call)))
            raise
        except NebulaError as error:
            outcome = error.code
            await self._record(call, outcome, error=error)
            raise
        except Exception as error:
            reference = uuid4().hex[:12]
            outcome = "internal_error"
            log.exception("tool_crashed", tool=name, reference=reference)
            told = InternalError(reference)
            await self._record(call, outcome, error=told)
            raise told from error
        finally:
            observe(name if call.tool else "unknown", outcome, time.perf_counter() - started)

    async def _steps(self, call: Call, arguments: Mapping[str, Any] | bytes) -> Result:
        tool = call.tool = self.registry.get(call.name)
        principal = await self._parts.auth.effective(call.caller)
        caller = call.caller = replace(call.caller, principal=principal)
        judge = self._parts.judge
        # Before the arguments are looked at: nobody learns about a tool they may not use.
        _refuse_blocked(judge.standing(tool, caller))
        values = call.values = _validated(tool, arguments)
        call.as_job |= tool.background and caller.job_id is None
        decision = await judge.decide(tool, values, caller, call.call_id, granted=not call.as_job)
        call.uses = decision.uses
        _refuse_blocked(decision)
        call.secrets = await self._references.check(tool, values, caller)
        call.grant_id = decision.grant_id
        allowed = decision.verdict is Verdict.ALLOW
        if tool.effect is Effect.READ and allowed and not call.as_job:
            return await self._run(tool, values, caller, call.call_id)
        return await self._effect(call, tool, values, decision)

    async def _effect(
        self, call: Call, tool: AnyTool, values: BaseModel, decision: Decision
    ) -> Result:
        key = CallKey(
            principal_id=call.caller.principal.id,
            call_id=call.call_id,
            arguments_sha256=arguments_sha256(values, call.call_id),
        )
        answer = JobHandle if call.as_job else tool.output_model
        approval = None
        # What is simply allowed costs one transaction: only a known id needs a second look.
        if decision.verdict is not Verdict.ALLOW:
            told = await self._ledger.replay(tool, key, answer)
            if told is not None:
                return told
            approval = call.approval = await self._asking.answered(
                Request(tool, values, call.caller, call.call_id, decision, call.secrets)
            )
        await self._parts.limits.take(call.caller.principal.id)
        call.cost = cost_of(tool, values)
        if call.as_job:
            handle = await self._submit(call, tool, values, key, approval)
            return handle or await self._told_again(tool, key, answer)
        if not await self._begin(call, tool, values, key, approval):
            return await self._told_again(tool, key, answer)
        call.key = key
        return await self._run(tool, values, call.caller, call.call_id)

    async def _begin(
        self,
        call: Call,
        tool: AnyTool,
        values: BaseModel,
        key: CallKey,
        approval: Approval | None,
    ) -> bool:
        """Record that the call starts; what only one call can have is taken with that."""
        known, cost = call.caller.session_id, call.cost
        judge = self._parts.judge
        plain = approval is None and call.grant_id is None and not call.uses
        if plain and not judge.rules.limits_of(tool):
            async with self._parts.db.bare() as bare:
                return await self._ledger.begin(bare, tool, key, known, cost=cost)
        async with self._parts.db.session() as session:
            if approval is not None:
                await self._parts.approvals.use(session, approval)
            if call.grant_id is not None:
                await judge.grants.use(session, call.grant_id)
            await self._take(session, call, approved=approval is not None)
            await self._within_limits(session, call, tool, values)
            return await self._ledger.begin(session, tool, key, known, cost=cost)

    async def _take(self, statements: Statements, call: Call, *, approved: bool) -> None:
        """Use up the step and the endorsements that a call rests on; an approval suffices too."""
        if call.uses:
            uses = replace(call.uses, needed=False) if approved else call.uses
            who = call.caller.principal.id
            await self._parts.judge.vouching.take(statements, uses, who, call.call_id)

    async def _within_limits(
        self, statements: Statements, call: Call, tool: AnyTool, values: BaseModel
    ) -> None:
        refusal = await self._parts.judge.check_limits(statements, tool, values, call.caller)
        if refusal is not None:
            _refuse_blocked(refusal)

    async def _submit(
        self,
        call: Call,
        tool: AnyTool,
        values: BaseModel,
        key: CallKey,
        approval: Approval | None,
    ) -> JobHandle | None:
        """Make the call a job: approval, call, job, queue and audit line stand or fall together."""
        parts = self._parts
        handle = JobHandle(job_id=new_job_id(), tool=tool.name, state=JobState.QUEUED)
        line = audit_line(call, "submitted", None)
        line["detail"]["job_id"] = handle.job_id
        async with self._transaction(plain=approval is None and tool.gpu is None) as session:
            bare = session if isinstance(session, Bare) else await bare_in(session)
            await self._within_limits(bare, call, tool, values)
            await self._take(bare, call, approved=approval is not None)
            if approval is not None and not isinstance(session, Bare):
                await parts.approvals.use(session, approval)
            known, cost = call.caller.session_id, call.cost
            if not await self._ledger.begin(bare, tool, key, known, cost=cost, done=handle):
                return None
            await parts.jobs.submit(
                session,
                tool,
                values if approval is None else pinned(values, call.secrets),
                call.caller,
                call.call_id,
                priority=call.priority,
                job_id=handle.job_id,
            )
            await parts.audit.append(bare, line)
        call.recorded = True
        return handle

    @asynccontextmanager
    async def _transaction(self, *, plain: bool) -> AsyncIterator[AsyncSession | Bare]:
        """Open a transaction; a plain one costs less, and has no session for others to use."""
        if plain:
            async with self._parts.db.bare() as bare, bare.transaction():
                yield bare
            return
        async with self._parts.db.session() as session:
            yield session

    async def _told_again(self, tool: AnyTool, key: CallKey, answer: type[Result]) -> Result:
        told = await self._ledger.replay(tool, key, answer)
        if told is None:
            raise StillRunning(hint="Wait for it to end.")
        return told

    async def _run(self, tool: AnyTool, values: BaseModel, caller: Caller, call_id: str) -> Result:
        run = None if caller.job_id is None else self._runs.get(caller.job_id)
        context = Context(caller, call_id, self._parts, self.bound(caller, call_id), run)
        given = await self._references.follow(tool, values, caller, call_id)
        fields = {name: getattr(given, name) for name in type(given).model_fields}
        try:
            async with self._time_for(tool) as limit:
                result = await tool.fn(context, **fields)
        except TimeoutError as error:
            if not limit.expired():
                raise
            await self._refuse_paused(tool, error)
            if run is not None and call_id == run.job.call_id:
                run.trace.overran = True
            if tool.effect is not Effect.READ and tool.kind is EffectKind.OPAQUE:
                raise OutcomeUnknown(f"{tool.name} took over {tool.timeout:g} s.") from error
            raise TimedOut(f"{tool.name} took over {tool.timeout:g} s.") from error
        if not isinstance(result, tool.output_model):
            raise TypeError(f"{tool.name} returned {type(result).__name__}")
        return _hidden(cast("Result", result))

    @asynccontextmanager
    async def _time_for(self, tool: AnyTool) -> AsyncIterator[asyncio.Timeout]:
        """Limit a run to the tool's time; a pause ends that of an effect early."""
        async with asyncio.timeout(tool.timeout) as limit:
            if tool.effect is Effect.READ or tool.while_paused:
                yield limit
                return
            self._effects.add(limit)
            try:
                yield limit
            finally:
                self._effects.discard(limit)

    async def _refuse_paused(self, tool: AnyTool, error: TimeoutError) -> None:
        """Say so when a run ended early because everything was paused."""
        if tool.effect is Effect.READ or (paused := await self._parts.judge.pause.now()) is None:
            return
        if tool.kind is EffectKind.OPAQUE:
            raise OutcomeUnknown(f"{tool.name} was stopped in the middle: {paused}") from error
        raise Paused(f"{tool.name} was stopped: {paused}") from error

    async def _record(
        self, call: Call, outcome: str, *, result: Result | None = None, error: Any = None
    ) -> None:
        """Write the end of the call and its audit line in one transaction."""
        if call.recorded:
            return
        payload = error.payload() if isinstance(error, NebulaError) else None
        line = audit_line(call, outcome, payload)
        if call.key is None:
            # A line alone is a transaction of its own.
            async with self._parts.db.bare() as connection:
                await self._parts.audit.append(connection, line)
            return
        async with self._parts.db.session() as session:
            state = state_of(outcome, error)
            await self._ledger.end(session, call.key, state=state, result=result, error=payload)
            await self._parts.judge.grants.learn(session, call, succeeded=state == "succeeded")
            await self._parts.audit.append(session, line)


def _hidden(result: Result) -> Result:
    """Hide secrets in a result, but for what is shown this once to whoever asked for it."""
    hidden = LIVE.model(result)
    once = {name: getattr(result, name) for name in result.shown_once()}
    return hidden if hidden is result or not once else hidden.model_copy(update=once)


def _refuse_blocked(decision: Decision) -> None:
    if decision.verdict is not Verdict.BLOCK:
        return
    if decision.rule == "paused":
        raise Paused(decision.reason, hint="An administrator says: resume everything.")
    if decision.rule == "limit":
        raise RateLimited(decision.reason, hint="It counts anew at midnight UTC.")
    raise PermissionDenied(decision.reason)


def _validated(tool: AnyTool, arguments: Mapping[str, Any] | bytes) -> BaseModel:
    return checked(tool, parse(arguments) if isinstance(arguments, bytes) else arguments)
