"""Jarvis as the doors see it: send, follow, go on after an approval, cancel."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agents.roster import STANDARD, Roster, with_steps
from graphs.events import (
    ApprovalEvent,
    ChatEvent,
    DoneEvent,
    ErrorEvent,
    MessageEvent,
    PlanEvent,
    PlanStep,
    SessionEvent,
)
from graphs.jarvis.attachments import Attachment, with_attachments
from graphs.jarvis.broadcast import Broadcast
from graphs.jarvis.caretaker import Caretaker, Pace
from graphs.jarvis.crew import Crew
from graphs.jarvis.errand import Errand, Errands
from graphs.jarvis.stream import TurnStream
from graphs.jarvis.turn import Running, TurnRunner
from graphs.jarvis.unattended import Unattended
from memory.checkpoints import open_checkpoints
from memory.sessions import Housekeeping, Sessions
from memory.turns import Answer, Begun, Turns, caller_of, principal_of
from nebula.auth.principal import Caller
from nebula.errors import InvalidInput, NebulaError, NotFound, TooLarge
from nebula.policy.labels import Label
from nebula.secrets.redact import hide

if TYPE_CHECKING:
    from nebula.app import App

__all__ = ["Attachment", "Jarvis", "open_jarvis"]

_LONGEST = 100_000
_BEGIN_AT_ONCE = 8
_REMEMBERED = 64
"""Finished turns whose events stay in memory for late readers."""


class Jarvis:
    """The assistant. Turns run in tasks of its own: a reader that goes away loses nothing."""

    def __init__(
        self, app: "App", crew: Crew, turns: Turns, sessions: Sessions, errands: Errands
    ) -> None:
        """Take the program and the parts that `open_jarvis` built."""
        self.sessions = sessions
        self._app = app
        self._turns = turns
        self._broadcast = Broadcast(app.parts.events)
        self._errands = errands
        self.unattended = Unattended(app, self, turns, errands)
        self._runner = TurnRunner(crew, turns, app.parts.approvals, self._broadcast, errands)
        self._streams: OrderedDict[str, TurnStream] = OrderedDict()
        self._door = asyncio.Semaphore(_BEGIN_AT_ONCE)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping: set[str] = set()
        self._grown: set[str] = set()

    async def send(
        self,
        caller: Caller,
        text: str,
        *,
        session_id: str | None = None,
        attachments: Sequence[Attachment] = (),
        also: Begun | None = None,
    ) -> AsyncIterator[ChatEvent]:
        """Take a message and yield its turn's events, from `session` to `done`.

        `also` is done in the transaction that begins the turn; what it raises leaves no turn.

        Raises:
            InvalidInput: for an empty message, or a picture that no model could see.
            TooLarge: for one that is too long.
            NotFound: when the session is not the caller's.
        """
        # A secret that somebody pastes goes into no transcript.
        typed = hide(_checked(text))
        said = hide(with_attachments(typed, attachments))
        pictures = tuple(each for each in attachments if each.is_picture)
        if pictures and not await self._runner.sees():
            raise InvalidInput(
                f"{pictures[0].name} is a picture, and no model here sees pictures",
                hint="Pull one that does (ollama pull llama3.2-vision) or set "
                "JARVIS_MODEL_VISION, e.g. to openai:gpt-4o-mini.",
            )
        if attachments:
            caller = replace(caller, labels=caller.labels | {Label.OUTSIDE})
        async with self._door:
            turn = await self._turns.begin(caller, said, session_id, also=also)
        caller = await self._effective(replace(caller, session_id=turn.session_id, by_model=False))
        mine = TurnStream(turn, caller.principal.id)
        stream = self._start(Running(mine, caller, said, typed, pictures))
        async for event in stream.read():
            yield event

    async def take_on(
        self,
        caller: Caller,
        said: str,
        *,
        typed: str,
        errand: Errand,
        begin: Begun,
    ) -> None:
        """Begin a run of an autonomous agent: a session of its owner that nobody sits in.

        `begin` takes the run up in the same transaction; what it raises is raised, and nothing
        has begun then.
        """
        title = f"{errand.profile.name}{' (dry run)' if errand.dry_run else ''}"
        turn = await self._turns.begin(caller, said, None, title=title, also=begin)
        caller = await self._effective(replace(caller, session_id=turn.session_id))
        stream = TurnStream(turn, caller.principal.id)
        self._start(Running(stream, caller, said, typed, errand=errand))

    async def resume(
        self, caller: Caller, session_id: str, turn_id: str | None = None
    ) -> AsyncIterator[ChatEvent]:
        """Go on after approvals were decided, and yield the events of the turn as `follow` does.

        When the turn goes on already, here or elsewhere, its events are followed; when it is
        over, its answer is told.

        Raises:
            NotFound: when the session is not the caller's.
        """
        await self.sessions.get(session_id, caller.principal)
        if session_id in await self._turns.decided(session_id):
            await self.go_on(session_id)
        async for event in self.follow(caller, session_id, turn_id):
            yield event

    async def follow(
        self, caller: Caller, session_id: str, turn_id: str | None = None
    ) -> AsyncIterator[ChatEvent]:
        """Yield the events of the session's present turn, or of its last one, up to `done`.

        With `turn_id` it is that turn, whatever has begun since.

        Raises:
            NotFound: when the session is not the caller's.
        """
        await self.sessions.get(session_id, caller.principal)
        # Set before the row is read: a turn seen running says its end after this mark.
        mark = await self._broadcast.mark(session_id)
        found = await self._turns.latest(session_id, caller.principal, turn_id)
        if found is None:
            return
        found_id, state = found
        going_on = state in {"queued", "running"}
        stream = self._live(session_id, turn_id) if going_on else self._streams.get(found_id)
        if stream is not None:
            events = stream.read()
        elif going_on:
            events = self._broadcast.turn(session_id, found_id, mark)
        else:
            events = self._told_again(caller, session_id, found_id, state)
        async for event in events:
            yield event

    async def is_going_on(self, caller: Caller, session_id: str) -> bool:
        """Say whether a turn of the session runs or waits in line, here or elsewhere."""
        latest = await self._turns.latest(session_id, caller.principal)
        return latest is not None and latest[1] in {"queued", "running"}

    async def is_lost(self, session_id: str) -> bool:
        """Say whether a turn of the session was given up just now: its process fell silent."""
        return await self._turns.lose_silent(session_id)

    async def watch(self, caller: Caller, session_id: str) -> AsyncIterator[ChatEvent]:
        """Yield the events of every turn of the session from now on, until the reader leaves.

        Raises:
            NotFound: when the session is not the caller's.
        """
        await self.sessions.get(session_id, caller.principal)
        async for event in self._broadcast.session(session_id):
            yield event

    async def cancel(self, caller: Caller, session_id: str) -> bool:
        """Stop what goes on in the session, wherever it runs; False when nothing did."""
        stopped = await self._turns.cancel(session_id, caller.principal)
        self._stop(stopped)
        if stopped:
            await self._app.parts.approvals.withdraw(session_id, "The request was cancelled.")
        return bool(stopped)

    async def go_on(self, session_id: str) -> None:
        """Take up the session's waiting turn, unless somebody else has."""
        taken = await self._turns.resume(session_id)
        if taken is None:
            return
        turn, record = taken
        errand = None
        try:
            caller = await self._caller(record, session_id)
            if caller.agent is not None:
                errand = await self._errands.of_turn(turn.id)
                if errand is None:
                    raise NotFound("The agent that asked is gone.")
        except NebulaError as error:
            stream = TurnStream(turn, str(record["principal"]["id"]))
            await self._turns.finish(turn, "failed", Answer(text=str(error)))
            stream.emit(ErrorEvent(error=error.payload()))
            stream.emit(DoneEvent(outcome="failed"))
            return
        self._start(Running(TurnStream(turn, caller.principal.id), caller, errand=errand))

    async def beat(self) -> None:
        """Say that the turns of this process are alive, and stop those somebody cancelled."""
        if self._tasks:
            self._stop(await self._turns.beat(list(self._tasks)))

    def grown_threads(self) -> set[str]:
        """Return the sessions with turns since this was asked last."""
        grown, self._grown = self._grown, set()
        return grown

    async def close(self) -> None:
        """Stop every turn and wait until each is written down."""
        self._stop(list(self._tasks))
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    def _start(self, running: Running) -> TurnStream:
        stream = running.stream
        self._streams[stream.turn.id] = stream
        self._streams.move_to_end(stream.turn.id)
        self._forget_old()
        task = asyncio.create_task(self._run(running), name=f"turn-{stream.turn.id}")
        self._tasks[stream.turn.id] = task
        return stream

    async def _run(self, running: Running) -> None:
        turn_id = running.stream.turn.id
        try:
            async with self._broadcast.publishing(running.stream):
                await self._runner.run(running)
        finally:
            del self._tasks[turn_id]
            self._stopping.discard(turn_id)
            self._grown.add(running.stream.turn.session_id)

    def _stop(self, turn_ids: Sequence[str]) -> None:
        for turn_id in set(turn_ids) - self._stopping:
            if (task := self._tasks.get(turn_id)) is not None:
                # Once only: after that the turn writes its end, which nothing may interrupt.
                self._stopping.add(turn_id)
                task.cancel()

    def _forget_old(self) -> None:
        for turn_id in [key for key, stream in self._streams.items() if stream.closed]:
            if len(self._streams) <= _REMEMBERED:
                return
            del self._streams[turn_id]

    def _live(self, session_id: str, turn_id: str | None) -> TurnStream | None:
        """Return the first turn of the session, or the named one, if it is at work in this process."""
        mine = (each for each in self._streams.values() if each.turn.session_id == session_id)
        live = (each for each in mine if not each.closed)
        return next((each for each in live if turn_id in {None, each.turn.id}), None)

    async def _caller(self, record: Mapping[str, Any], session_id: str) -> Caller:
        principal = await self._app.parts.auth.current(principal_of(record))
        return await self._effective(caller_of(record, principal, session_id))

    async def _effective(self, caller: Caller) -> Caller:
        """Return a caller with what they may do here, so that nothing else is offered."""
        return replace(caller, principal=await self._app.parts.auth.effective(caller))

    async def _told_again(
        self, caller: Caller, session_id: str, turn_id: str, state: str
    ) -> AsyncIterator[ChatEvent]:
        transcript = await self.sessions.messages(session_id, caller.principal, limit=20)
        events: list[ChatEvent] = [SessionEvent(session_id=session_id, turn_id=turn_id)]
        events += [
            PlanEvent(steps=[PlanStep(title=line.title, status=line.status) for line in said.plan])
            for said in transcript
            if said.turn_id == turn_id and said.plan
        ]
        events += [
            MessageEvent(message_id=message.id, text=message.text, blocks=message.blocks)
            for message in transcript
            if message.turn_id == turn_id and message.role == "assistant" and message.text
        ]
        if state == "waiting":
            pending = await self._app.parts.approvals.list(caller.principal, session_id=session_id)
            events += [ApprovalEvent.of(approval) for approval in pending]
        outcome: Any = state if state in {"answered", "waiting", "cancelled"} else "failed"
        events.append(DoneEvent(outcome=outcome))
        for seq, event in enumerate(events, start=1):
            event.seq = seq
            yield event


@asynccontextmanager
async def open_jarvis(
    app: "App",
    *,
    roster: Roster = STANDARD,
    pace: Pace | None = None,
    stale_seconds: float = 8.0,
    unattended: bool = False,
) -> AsyncIterator[Jarvis]:
    """Open Jarvis over the running program; on the way out every turn is stopped and written.

    With `unattended`, autonomous agents run here: in programs that stay.

    Raises:
        BadDeclaration: when a profile names an unknown feature or a missing prompt.
    """
    parts = app.parts
    async with open_checkpoints(parts.db.conninfo) as checkpoints:
        crew = Crew(app, with_steps(roster, parts.settings.max_steps), checkpoints)
        turns = Turns(parts.db, stale_seconds=stale_seconds)
        errands = Errands(parts)
        jarvis = Jarvis(app, crew, turns, Sessions(parts.db, checkpoints), errands)
        caretaker = Caretaker(
            jarvis=jarvis,
            turns=turns,
            housekeeping=Housekeeping(parts.db),
            crew=crew,
            checkpoints=checkpoints,
            events=parts.events,
            idle_minutes=parts.settings.session_idle_minutes,
            parts=parts,
            pace=pace or Pace(),
            unattended=jarvis.unattended if unattended else None,
        )
        try:
            async with caretaker.working():
                yield jarvis
        finally:
            await jarvis.close()


def _checked(text: str) -> str:
    said = text.replace("\x00", "").strip()
    if not said:
        raise InvalidInput("You sent nothing", hint="Write what Jarvis shall do.")
    if len(said) > _LONGEST:
        raise TooLarge(f"A message has at most {_LONGEST} characters", hint="Attach it as a file.")
    return said
