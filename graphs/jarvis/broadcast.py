"""Turns heard elsewhere: their events, in small batches, on the session's own stream."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from pydantic import TypeAdapter

from graphs.events import ChatEvent, DoneEvent
from graphs.jarvis.stream import TurnStream
from memory.turns import Also
from nebula.errors import NebulaError
from nebula.events.bus import Events

log = structlog.get_logger(__name__)

_KIND = "turn.said"
_BATCH_SECONDS = 0.3
_EVENTS: TypeAdapter[list[ChatEvent]] = TypeAdapter(list[ChatEvent])


class Broadcast:
    """Publishes turns, and follows those of other processes."""

    def __init__(self, events: Events) -> None:
        """Take the event log."""
        self._events = events

    @asynccontextmanager
    async def publishing(self, stream: TurnStream) -> AsyncIterator[None]:
        """Publish what a turn says while the block runs; a short turn makes one batch."""
        ticking = asyncio.create_task(self._tick(stream), name=f"publish-{stream.turn.id}")
        try:
            yield
        finally:
            ticking.cancel()
            await asyncio.wait([ticking])
            await self._flush(stream)

    def last_words(self, stream: TurnStream, done: DoneEvent) -> Also:
        """Return what publishes the rest of a turn, with its end, within a transaction."""

        async def publish(session: Any) -> None:
            data = {"turn_id": stream.turn.id, "events": stream.unpublished(done)}
            name = _stream(stream.turn.session_id)
            await self._events.publish(name, _KIND, data, stream.owner, session=session)

        return publish

    async def mark(self, session_id: str) -> int:
        """Return where the session's stream is now: what a turn says later is above it."""
        return await self._events.last(_stream(session_id))

    async def turn(self, session_id: str, turn_id: str, past: int) -> AsyncIterator[ChatEvent]:
        """Yield a running turn's events, from where it began or went on, to `done`.

        `past` is a mark set before the turn was seen running, so that its end is above it.
        """
        told: list[ChatEvent] = []
        async for event in self._events.follow(_stream(session_id)):
            if event.data.get("turn_id") == turn_id:
                for said in _EVENTS.validate_python(event.data["events"]):
                    if event.seq > past:
                        yield said
                        if isinstance(said, DoneEvent):
                            return
                    else:
                        # A pause that is already over: what counts begins after it.
                        told = [] if isinstance(said, DoneEvent) else [*told, said]
            if event.seq >= past:
                for said in told:
                    yield said
                told = []

    async def session(self, session_id: str) -> AsyncIterator[ChatEvent]:
        """Yield the events of all turns from now on."""
        after = await self._events.last(_stream(session_id))
        async for event in self._events.follow(_stream(session_id), after):
            for said in _EVENTS.validate_python(event.data["events"]):
                yield said

    async def _tick(self, stream: TurnStream) -> None:
        while True:
            await asyncio.sleep(_BATCH_SECONDS)
            await self._flush(stream)

    async def _flush(self, stream: TurnStream) -> None:
        events = stream.unpublished()
        if not events:
            return
        data = {"turn_id": stream.turn.id, "events": events}
        try:
            await self._events.publish(_stream(stream.turn.session_id), _KIND, data, stream.owner)
        except NebulaError as error:
            # Readers elsewhere miss a batch; the transcript has the turn all the same.
            stream.say_again()
            log.warning("turn_not_published", turn=stream.turn.id, error=str(error))


def _stream(session_id: str) -> str:
    return f"session:{session_id}"
