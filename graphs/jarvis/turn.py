"""One turn from its message to its end: wait in line, think, act, and leave a whole thread."""

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import structlog
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.types import Command

from graphs.context import Meter, TurnContext, as_agent, joined, typed
from graphs.events import ApprovalEvent, DoneEvent, ErrorEvent, SessionEvent, StepEvent
from graphs.jarvis.attachments import Attachment
from graphs.jarvis.broadcast import Broadcast
from graphs.jarvis.crew import COMMAND, Crew
from graphs.jarvis.delegate import tool_name
from graphs.jarvis.errand import Errand, Errands, Outcome
from graphs.jarvis.pictures import seen
from graphs.jarvis.plan import NAME as PLAN
from graphs.jarvis.repair import message_id, repairs
from graphs.jarvis.selection import has_several_steps, is_question, may_mix
from graphs.jarvis.stream import TurnStream
from memory.checkpoints import BEGINS
from memory.turns import Ending, Turns, together
from nebula.auth.grant import READ_ONLY
from nebula.auth.principal import Caller
from nebula.errors import (
    Conflict,
    InternalError,
    NebulaError,
    NoModel,
    PermissionDenied,
)
from nebula.policy.labels import Label
from nebula.policy.plan import Plan, written
from nebula.tool.approvals import Approvals

log = structlog.get_logger(__name__)

_Work = dict[str, Any] | Command[Any]

_AT_ONCE = 32
"""Turns of one process that work at the same time; the others wait for a place."""
_WAIT_SECONDS = 0.25
_SHORT = 4
"""A message of fewer words is understood from what was said before it."""


@dataclass
class Running:
    """A turn in progress in this process."""

    stream: TurnStream
    caller: Caller
    said: str = ""
    """What the person said; empty when the turn goes on after approvals."""
    typed: str = ""
    """Of that, what they typed themselves: no attachment."""
    pictures: Sequence[Attachment] = ()
    model: str = ""
    """Who thinks, as it looked when the turn began."""
    meter: Meter = field(default_factory=Meter)
    started: float = field(default_factory=time.monotonic)
    approvals: list[str] = field(default_factory=list)
    labels: frozenset[Label] = frozenset()
    errand: Errand | None = None
    """The run of an autonomous agent that this is, if it is one."""
    problem: str = ""
    """Why it failed."""
    code: str = ""
    """The code of the error that it failed with."""


class TurnRunner:
    """Runs turns to their end. Whatever happens, the turn is written down and says `done`."""

    def __init__(
        self,
        crew: Crew,
        turns: Turns,
        approvals: Approvals,
        broadcast: Broadcast,
        errands: Errands,
    ) -> None:
        """Take who thinks, the order of turns, where people decide, and who else listens."""
        self._crew = crew
        self._errands = errands
        self._broadcast = broadcast
        # More at once would only wait for each other's database connections.
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._turns = turns
        self._approvals = approvals

    async def run(self, running: Running) -> None:
        """Run a turn to its end, or to its pause."""
        stream = running.stream
        try:
            ending = await self._in_time(running)
        except asyncio.CancelledError:
            ending = "cancelled"
            _end_this_cancellation()
        except NebulaError as error:
            ending = "failed"
            running.problem, running.code = str(error), error.code
            stream.emit(ErrorEvent(error=error.payload()))
        except Exception:
            # The outermost handler of a turn: nothing above it would tell the person.
            ending = "failed"
            reference = uuid4().hex[:12]
            log.exception("turn_crashed", turn=stream.turn.id, reference=reference)
            broke = InternalError(reference)
            running.problem = str(broke)
            stream.emit(ErrorEvent(error=broke.payload()))
        await _uninterrupted(self._finish(running, ending))

    async def sees(self) -> bool:
        """Say whether pictures may come with a message now."""
        return await self._crew.sees()

    async def withdraw(self, caller: Caller, session_id: str) -> None:
        """Close the session's open questions: the person went on without an answer."""
        pending = await self._approvals.list(caller.principal, session_id=session_id)
        for approval in pending:
            if approval.principal_id != caller.principal.id:
                continue
            with suppress(PermissionDenied, Conflict):  # it expires by itself
                await self._approvals.decide(
                    approval.id,
                    decision="deny",
                    by=caller.principal,
                    surface=caller.surface,
                    comment="The conversation went on without it.",
                )

    async def _in_time(self, running: Running) -> Ending:
        """Run it to its end, an agent's run within its time."""
        errand = running.errand
        if errand is None:
            return await self._to_end(running)
        try:
            async with asyncio.timeout(errand.seconds) as limit:
                return await self._to_end(running)
        except TimeoutError:
            if not limit.expired():
                raise
            over = errand.overrun()
            running.meter.stopped = str(over)
            raise over from None

    async def _to_end(self, running: Running) -> Ending:
        turn = running.stream.turn
        running.model = await self._crew.thinks(running.errand.profile if running.errand else None)
        running.stream.emit(
            SessionEvent(
                session_id=turn.session_id,
                turn_id=turn.id,
                title=turn.title,
                model=running.model,
            )
        )
        await self._in_line(running)
        async with self._slots:
            return await self._work(running)

    async def _work(self, running: Running) -> Ending:
        turn = running.stream.turn
        if running.pictures:
            await self._look(running)
        work, context = await (self._begin(running) if running.said else self._go_on(running))
        thread = _thread(turn.session_id, begins=turn.first)
        result = await self._crew.graph.ainvoke(work, thread, context=context, durability="exit")
        labels = str(result.get("labels", "")).split()
        running.labels = frozenset(Label(label) for label in labels)
        if not (interrupts := result.get("__interrupt__")):
            running.stream.finish_plan()
            await self._crew.shorten(turn.session_id, result["messages"])
            return "answered"
        await self._ask(running, [interrupt.value["approval_id"] for interrupt in interrupts])
        return "waiting"

    async def _look(self, running: Running) -> None:
        """Let a model that sees say what the message's pictures show."""
        stream, names = running.stream, [each.shown_name for each in running.pictures]
        step = {"id": f"{stream.turn.id}-look", "name": f"Looking at {', '.join(names)}"}
        stream.emit(StepEvent(**step, status="running"))
        eyes = self._crew.eyes(running.caller)
        running.said = await seen(eyes, running.said, running.pictures, running.meter)
        stream.emit(StepEvent(**step, status="done"))

    async def _in_line(self, running: Running) -> None:
        """Wait, visibly, until the session's earlier turns are over."""
        turn, stream = running.stream.turn, running.stream
        if turn.running:
            return
        step = {"id": f"{turn.id}-line", "name": "Waiting for your earlier message"}
        stream.emit(StepEvent(**step, status="running"))
        # Looks again and again: the turn before may run in another process.
        while not await self._turns.claim(turn):  # noqa: ASYNC110
            await asyncio.sleep(_WAIT_SECONDS)
        stream.emit(StepEvent(**step, status="done"))

    async def _begin(self, running: Running) -> tuple[_Work, TurnContext]:
        turn, said, crew = running.stream.turn, running.said, self._crew
        command = crew.command(_commanding(running), running.caller)
        if running.errand is not None:
            command = _of_errand(running, command, crew)
        read_only = command is None and running.errand is None and is_question(running.typed)
        thread = await self._thread_before(running)
        offered: Sequence[str] = []
        plan = Plan()
        if command is None:
            plan = crew.settled(running.typed, running.caller, turn.id)
            fitting = await self._offered(running, thread, read_only=read_only)
            settled = [step.tool for step in plan.steps]
            offered = fitting if running.errand else [*fitting, *settled]
        before = repairs(thread.get("messages", ()), turn.earlier) if turn.earlier else []
        if any(each.state in {"waiting", "withdrawn"} for each in turn.earlier):
            await self.withdraw(running.caller, turn.session_id)
        work = {
            "messages": [*before, HumanMessage(said, id=message_id(turn.id))],
            "turn_id": turn.id,
            "offered": joined(offered),
            "plain": f"plain-{turn.id}" if command else "",
            "labels": joined(running.caller.labels),
            "words": typed(running.typed),
            "plan": written(plan),
        }
        return work, self._context(running, command=command, read_only=read_only)

    async def _thread_before(self, running: Running) -> Mapping[str, Any]:
        """Load the thread when this turn's beginning depends on it."""
        turn = running.stream.turn
        if turn.first or (not turn.earlier and len(running.said.split()) >= _SHORT):
            return {}
        state = await self._crew.graph.aget_state(_thread(turn.session_id))
        return state.values

    async def _offered(
        self, running: Running, thread: Mapping[str, Any], *, read_only: bool
    ) -> list[str]:
        crew, caller, said = self._crew, running.caller, running.said
        if running.errand is not None:
            return await self._offered_to_agent(running, running.errand)
        if running.model == COMMAND:
            return [tool.name for tool in crew.visible(caller, by_model=True)]
        if len(said.split()) < _SHORT and thread:
            people = [m for m in thread.get("messages", ()) if m.type == "human"]
            said = f"{people[-1].text[:500]} {said}" if people else said
        supervisor = crew.roster.supervisor
        fitting = await crew.fitting(said, caller, supervisor, read_only=read_only)
        tools = [crew.executor.registry.get(name) for name in fitting]
        several = has_several_steps(running.said) or may_mix(running.typed, tools)
        asks = [tool_name(agent) for agent in crew.concerned(fitting)]
        return [*fitting, *asks, *([PLAN] if several else [])]

    async def _offered_to_agent(self, running: Running, errand: Errand) -> list[str]:
        """Return all of an agent's tools; of many, its own and those that fit; and the plan."""
        crew, caller, profile = self._crew, running.caller, errand.profile
        visible = crew.visible(caller, by_model=True)
        mine = [tool.name for tool in visible if profile.is_offered(tool)]
        if len(mine) > profile.limits.tools:
            fitting = await crew.fitting(running.said, caller, profile, read_only=False)
            mine = [*(name for name in mine if name in profile.tools), *fitting]
        return [*mine, PLAN]

    async def _go_on(self, running: Running) -> tuple[_Work, TurnContext]:
        """Go on where people have decided; each pause is answered by its own id."""
        state = await self._crew.graph.aget_state(_thread(running.stream.turn.session_id))
        answers = {interrupt.id: "look again" for interrupt in state.interrupts}
        question = running.errand is None and is_question(_last_said(state.values))
        return Command(resume=answers), self._context(running, read_only=question)

    def _context(
        self,
        running: Running,
        *,
        command: tuple[str, dict[str, Any]] | None = None,
        read_only: bool = False,
    ) -> TurnContext:
        crew, turn, errand = self._crew, running.stream.turn, running.errand
        profile = crew.roster.supervisor if errand is None else errand.profile
        rehearsal = errand is not None and errand.dry_run
        return TurnContext(
            turn_id=turn.id,
            thread_id=turn.session_id,
            caller=_acting(running, crew),
            profile=profile,
            executor=crew.executor,
            model=crew.model(profile, running.caller),
            emit=running.stream.emit,
            command=command,
            read_only=read_only,
            rehearsal=rehearsal,
            allowance=None if errand is None else errand.allowance,
            meter=running.meter,
        )

    async def _ask(self, running: Running, approval_ids: Sequence[str]) -> None:
        running.approvals = list(approval_ids)
        for approval_id in approval_ids:
            approval = await self._approvals.get(approval_id, running.caller.principal)
            running.stream.emit(ApprovalEvent.of(approval))

    async def _finish(self, running: Running, ending: Ending) -> None:
        stream = running.stream
        answer = stream.answer()
        answer.labels = sorted(running.labels)
        answer.waits_for = running.approvals if ending == "waiting" else []
        meter = running.meter
        done = DoneEvent(
            outcome=ending,
            model_calls=meter.model_calls,
            prompt_tokens=meter.prompt_tokens,
            completion_tokens=meter.completion_tokens,
            seconds=round(time.monotonic() - running.started, 3),
        )
        try:
            also = [self._broadcast.last_words(stream, done)]
            if running.errand is not None:
                outcome = Outcome(ending, meter, done.seconds, running.problem, running.code)
                also.append(self._errands.ended(running.errand, outcome, answer))
            if not await self._turns.finish(stream.turn, ending, answer, also=together(also)):
                await self._crew.forget(stream.turn.session_id)
        except NebulaError as error:
            # The turn's row stays; the next turn finds it silent and goes on.
            log.warning("turn_not_written", turn=stream.turn.id, error=str(error))
            stream.say_again()
            stream.emit(ErrorEvent(error=error.payload()))
        stream.emit(done)


def _acting(running: Running, crew: Crew) -> Caller:
    """Return who calls tools: an agent's rights are its own already; a dry run only looks."""
    if running.errand is None:
        return as_agent(running.caller, crew.roster.supervisor)
    if not running.errand.dry_run:
        return running.caller
    return replace(running.caller, principal=running.caller.principal.narrowed(READ_ONLY))


def _commanding(running: Running) -> str:
    """Return the text that may be a command by itself: never one that holds somebody else's.

    A sentence beside a file is about the file, and a wildcard in it would take the file in. So it
    would the event that started an agent.
    """
    if running.errand is not None:
        return running.typed or running.said
    if running.typed == running.said:
        return running.said
    return running.typed if running.typed.startswith("/") else ""


def _of_errand(
    running: Running, command: tuple[str, dict[str, Any]] | None, crew: Crew
) -> tuple[str, dict[str, Any]] | None:
    """Return the call that an agent's purpose plainly is, within what the agent works with.

    Raises:
        NoModel: when it is none and no model is there to understand it.
    """
    assert running.errand is not None
    profile = running.errand.profile
    if command is not None and profile.is_offered(crew.executor.registry.get(command[0])):
        return command
    if running.model == COMMAND:
        raise NoModel("No language model is connected, and the purpose is no plain command.")
    return None


def _thread(session_id: str, *, begins: bool = False) -> RunnableConfig:
    of_run = {"thread_id": session_id, BEGINS: begins}
    return {"configurable": of_run, "recursion_limit": 200}


def _last_said(values: Mapping[str, Any]) -> str:
    people = [message for message in values.get("messages", ()) if message.type == "human"]
    return str(people[-1].text) if people else ""


async def _uninterrupted(work: Coroutine[Any, Any, None]) -> None:
    """Do the work to its end, however often the task is cancelled meanwhile."""
    task = asyncio.create_task(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            _end_this_cancellation()
    await task


def _end_this_cancellation() -> None:
    """Let the task write the turn's end: it was asked to stop, and it has."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()
