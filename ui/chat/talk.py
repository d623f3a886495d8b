"""A message in, a turn drawn: what happens between the composer and Jarvis."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import structlog
from chainlit.context import context

from graphs.events import ChatEvent, ErrorEvent
from nebula.auth.principal import Surface
from nebula.errors import NebulaError
from ui.chat import door
from ui.chat.screen import LiveScreen
from ui.chat.session import begun, session_of
from ui.chat.spoken import meant, spoken
from ui.chat.turn import Turn
from ui.chat.uploads import attachments_of

if TYPE_CHECKING:
    import chainlit as cl

_log = structlog.get_logger(__name__)
_running: set[asyncio.Task[None]] = set()


async def answer(message: "cl.Message") -> None:
    """Send a message to Jarvis and draw the turn as it happens."""
    run = context.current_run
    turn = Turn(LiveScreen(), run_id=run.id if run else message.id)
    await _play(_events(message), turn)


async def _events(message: "cl.Message") -> AsyncIterator[ChatEvent]:
    text = f"/{message.command} {message.content}".strip() if message.command else message.content
    if await _decided(message):
        async for event in _resumed(_session_id()):
            yield event
        return
    session_id = await session_of(context.session, text)
    caller = await door.caller(session_id)
    attachments = await attachments_of(message)
    sent = door.jarvis().send(caller, text, session_id=session_id, attachments=attachments)
    async for event in sent:
        yield event


async def _decided(message: "cl.Message") -> bool:
    """Take a message that answers the question which waits in this conversation."""
    said = None if message.command or message.elements else spoken(message.content)
    session_id = begun(context.session)
    if said is None or session_id is None:
        return False
    approvals, me = door.app().parts.approvals, await door.me()
    question = await meant(approvals, said, me, session_id)
    if question is None:
        return False
    await approvals.decide(question.id, decision=said.answer, by=me, surface=Surface.CHAT)
    return True


def resume() -> None:
    """Go on with the turn that waited for an approval in the page's session."""
    _own(_draw(_resumed(_session_id())))


async def _resumed(session_id: str) -> AsyncIterator[ChatEvent]:
    caller = await door.caller(session_id)
    async for event in door.jarvis().resume(caller, session_id):
        yield event


def follow_after_resume(session_id: str) -> None:
    """Draw the turn that still runs in a reopened session, once its history is on the page.

    Chainlit sends the history after this callback has returned, and the page then drops what
    it had: so the drawing waits for that moment.
    """
    shown = asyncio.Event()
    page: Any = context.session
    emit = page.emit

    async def noticing(event: str, data: Any) -> None:
        await emit(event, data)
        if event == "resume_thread":
            page.emit = emit
            shown.set()

    page.emit = noticing
    _own(_draw(_followed(session_id), after=shown))


async def _followed(session_id: str) -> AsyncIterator[ChatEvent]:
    caller = await door.caller(session_id)
    if not await door.jarvis().is_going_on(caller, session_id):
        return  # its history says it all
    async for event in door.jarvis().follow(caller, session_id):
        yield event


async def _draw(events: AsyncIterator[ChatEvent], *, after: asyncio.Event | None = None) -> None:
    """Draw events that no message of this page began, when there are any."""
    if after is not None:
        await asyncio.wait_for(after.wait(), timeout=30)
    turn = Turn(LiveScreen(), run_id=str(uuid4()))
    first = await anext(events, None)
    if first is None:
        return
    emitter: Any = context.emitter
    await emitter.task_start()
    await turn.begin()
    try:
        await _play(_chained(first, events), turn)
    finally:
        await emitter.task_end()


async def _chained(first: ChatEvent, rest: AsyncIterator[ChatEvent]) -> AsyncIterator[ChatEvent]:
    yield first
    async for event in rest:
        yield event


async def _play(events: AsyncIterator[ChatEvent], turn: Turn) -> None:
    try:
        async for event in events:
            await turn.show(event)
    except NebulaError as error:
        await turn.show(ErrorEvent(error=error.payload()))
    except Exception:  # noqa: BLE001 - the door's outermost handler: nothing else would say it
        reference = uuid4().hex[:8]
        _log.exception("turn.broke", reference=reference)
        detail = f"Something broke on our side (reference {reference})"
        hint = "Try again; the reference is in the server's log."
        await turn.show(ErrorEvent(error={"detail": detail, "hint": hint}))
    finally:
        await turn.end()


def _session_id() -> str:
    page = context.session
    return str(getattr(page, "thread_id_to_resume", None) or page.thread_id)


def _own(work: Coroutine[Any, Any, None]) -> None:
    """Run in the background and keep hold of the task until it ends."""
    task = asyncio.create_task(work)
    _running.add(task)
    task.add_done_callback(_running.discard)
