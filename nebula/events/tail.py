"""Follows streams for a whole process: one listening connection, many followers."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import islice

import psycopg
import structlog
from sqlalchemy import text

from nebula.db.engine import Database
from nebula.errors import NebulaError
from nebula.events.event import Batch, Event

CHANNEL = "nebula_events"

_KEPT = 1000
_BATCH = 500
_RETRY_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)
_LAST = text("SELECT stream, last_seq FROM event_streams WHERE stream = ANY(:streams)")

_log = structlog.get_logger(__name__)

Read = Callable[[str, int, int], Awaitable[list[Event]]]


class Tail:
    """The newest events of one stream, shared by its followers."""

    def __init__(self, stream: str, read: Read) -> None:
        """Take the stream and how to read it."""
        self.stream = stream
        self.followers = 0
        self.last: int | None = None
        """The highest number known to exist; None until the first look."""
        self._read = read
        self._recent: deque[Event] = deque(maxlen=_KEPT)
        self._latest = Batch(())
        """What was handed out last: followers that are equally far get the same object."""
        self._changed = asyncio.Event()
        self._closed = False
        self._reading = asyncio.Lock()
        self._looking_back = asyncio.Lock()
        self._past_read: tuple[int, Batch] = (-1, Batch(()))

    async def since(self, after: int) -> Batch | None:
        """Wait for events above `after` and return some, in order; None when closed."""
        while not self._closed:
            changed, last = self._changed, self.last
            if last is None or after >= last:
                await changed.wait()
                continue
            found = self._remembered(after) or await self._past(after)
            if found.events:
                return found
            after = max(after, last)  # everything up to here is pruned
        return None

    def _remembered(self, after: int) -> Batch | None:
        known = self._latest.events
        whole = len(known) == _BATCH or (known and known[-1].seq == self.last)
        if whole and known[0].seq == after + 1:
            return self._latest
        if not self._recent or self._recent[0].seq > after + 1:
            return None
        start = after + 1 - self._recent[0].seq
        self._latest = Batch(list(islice(self._recent, start, start + _BATCH)))
        return self._latest

    async def _past(self, after: int) -> Batch:
        """Read what is no longer in memory, again and again while the database is away.

        Many followers come back at the same place after a cut: one reads for all of them.
        """
        async with self._looking_back:
            if self._past_read[0] != after or not self._past_read[1].events:
                self._past_read = (after, await self._read_past(after))
            return self._past_read[1]

    async def _read_past(self, after: int) -> Batch:
        failures = 0
        while not self._closed:
            try:
                return Batch(await self._read(self.stream, after, _BATCH))
            except NebulaError:
                await asyncio.sleep(_pause(failures))
                failures += 1
        return Batch(())

    async def learn(self, last: int) -> None:
        """Take the highest number from the database, and read what is new."""
        if self.last is None:
            self.last = last
            self._wake()
        async with self._reading:
            while self.last < last:
                found = await self._read(self.stream, self.last, _BATCH)
                self._remember(found, last)

    def _remember(self, found: list[Event], last: int) -> None:
        if self._recent and (not found or self._recent[-1].seq + 1 != found[0].seq):
            self._recent.clear()  # the buffer has no holes
        self._recent.extend(found)
        self.last = found[-1].seq if found else last  # none: pruned already
        self._wake()

    def close(self) -> None:
        """End every follower."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Tails:
    """The followed streams of a process, woken by NOTIFY and, behind it, by a poll."""

    def __init__(self, db: Database, read: Read, poll_seconds: float) -> None:
        """Take the database, how to read a stream, and the seconds between polls."""
        self._db = db
        self._read = read
        self._poll_seconds = poll_seconds
        self._tails: dict[str, Tail] = {}
        self._listener: asyncio.Task[None] | None = None
        self._joined = asyncio.Event()

    @asynccontextmanager
    async def joined(self, stream: str) -> AsyncIterator[Tail]:
        """Share a stream's tail while following it."""
        tail = self._tails.setdefault(stream, Tail(stream, self._read))
        tail.followers += 1
        try:
            if self._listener is None or self._listener.done():
                self._listener = asyncio.create_task(self._listen(), name="events-listener")
            if tail.last is None:
                with suppress(NebulaError):  # the listener looks again
                    await self._look([stream])
            yield tail
        finally:
            tail.followers -= 1
            if not tail.followers and self._tails.get(stream) is tail:
                del self._tails[stream]

    async def close(self) -> None:
        """End every follower and the listening connection."""
        for tail in list(self._tails.values()):
            tail.close()
        if self._listener is not None:
            self._listener.cancel()
            with suppress(asyncio.CancelledError):
                await self._listener
            self._listener = None

    async def _listen(self) -> None:
        """Hold one listening connection, made again whenever it breaks."""
        failures = 0
        while True:
            try:
                async with await self._connect() as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    await self._look_everywhere()
                    failures = 0
                    await self._pass_on(connection)
            except (psycopg.Error, NebulaError) as error:
                _log.warning("events_listener_lost", reason=str(error).strip(), failures=failures)
            await asyncio.sleep(_pause(failures))
            failures += 1

    async def _connect(self) -> "psycopg.AsyncConnection[tuple[object, ...]]":
        return await psycopg.AsyncConnection.connect(
            self._db.conninfo,
            autocommit=True,
            connect_timeout=5,
            application_name="nebula-events",
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
        )

    async def _pass_on(self, connection: "psycopg.AsyncConnection[tuple[object, ...]]") -> None:
        while True:
            async for notice in connection.notifies(timeout=self._poll_seconds):
                number, _, stream = notice.payload.partition(" ")
                tail = self._tails.get(stream)
                if tail is not None and (tail.last is None or tail.last < int(number)):
                    await tail.learn(int(number))
            await self._look_everywhere()

    async def _look_everywhere(self) -> None:
        if self._tails:
            await self._look(list(self._tails))

    async def _look(self, streams: list[str]) -> None:
        """Compare what is known with the counters; this is the poll behind the hints."""
        async with self._db.session() as session:
            rows = await session.execute(_LAST, {"streams": streams})
            last = {row.stream: row.last_seq for row in rows}
        for stream in streams:
            if (tail := self._tails.get(stream)) is not None:
                await tail.learn(last.get(stream, 0))


def _pause(failures: int) -> float:
    """Return the seconds to wait after a number of failures in a row."""
    return _RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)]
