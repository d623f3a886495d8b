"""The event log: numbered rows per stream, read again or followed live."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any

from sqlalchemy import text

from nebula.db.bare import Statements
from nebula.db.documents import storable_json
from nebula.db.engine import Database
from nebula.errors import InvalidInput
from nebula.events.event import Batch, Event
from nebula.events.tail import CHANNEL, Tails
from nebula.secrets.redact import LIVE

__all__ = ["Batch", "Event", "Events"]

_STREAM_LIMIT = 200

# One statement: the counter's row stays locked until the transaction ends, so a number is
# visible only after every smaller one is.
_PUBLISH = text(
    """
    WITH numbered AS (
        INSERT INTO event_streams (stream, last_seq) VALUES (:stream, 1)
        ON CONFLICT (stream) DO UPDATE SET last_seq = event_streams.last_seq + 1
        RETURNING last_seq
    ), written AS (
        INSERT INTO events (stream, seq, kind, data, owner)
        SELECT :stream, last_seq, :kind, CAST(:data AS jsonb), :owner FROM numbered
        RETURNING seq
    )
    SELECT seq, pg_notify(:channel, seq || ' ' || :stream) FROM written
    """
)

# The same for several at once, after `WITH given AS (…)` of stream, kind, data, owner, the number
# of each within its stream (`nth`), and how many that stream gets (`many`).
PUBLISHING = """
    numbered AS (
        INSERT INTO event_streams (stream, last_seq)
        SELECT stream, many FROM given WHERE nth = 1 ORDER BY stream
        ON CONFLICT (stream) DO UPDATE SET last_seq = event_streams.last_seq + EXCLUDED.last_seq
        RETURNING stream, last_seq
    ), written AS (
        INSERT INTO events (stream, seq, kind, data, owner)
        SELECT stream, last_seq - many + nth, kind, data, owner FROM given JOIN numbered USING (stream)
        RETURNING stream, seq
    ), told AS (
        SELECT pg_notify(:channel, max(seq) || ' ' || stream) FROM written GROUP BY stream
    )
"""

_PUBLISH_ALL = text(
    f"""
    WITH given AS (
        SELECT stream, kind, data, owner,
               row_number() OVER (PARTITION BY stream ORDER BY n) AS nth,
               count(*) OVER (PARTITION BY stream) AS many
        FROM jsonb_to_recordset(CAST(:drafts AS jsonb))
             AS draft(n int, stream text, kind text, data jsonb, owner text)
    ), {PUBLISHING} SELECT count(*) FROM told
    """  # noqa: S608 - only our own constants
)

_READ = text(
    """
    SELECT stream, seq, kind, data, owner, at FROM events
    WHERE stream = :stream AND seq > :after ORDER BY seq LIMIT :limit
    """
)

_NEWEST = text("SELECT last_seq FROM event_streams WHERE stream = :stream")

_PRUNE = text("DELETE FROM events WHERE at < now() - make_interval(secs => :seconds)")


class Events:
    """Publishes events and hands them to followers, each exactly once and in order."""

    def __init__(self, db: Database, *, poll_seconds: float = 2.0) -> None:
        """Take the database, and how long a lost notification may delay a follower at most."""
        self._db = db
        self._tails = Tails(db, self.read, poll_seconds)

    async def publish(
        self,
        stream: str,
        kind: str,
        data: Mapping[str, Any],
        owner: str | None = None,
        *,
        session: Statements | None = None,
    ) -> int:
        """Append an event and return its number; with a session, within its transaction."""
        if not stream or len(stream) > _STREAM_LIMIT:
            raise InvalidInput(f"A stream's name has 1 to {_STREAM_LIMIT} characters")
        if session is None:
            async with self._db.bare() as own:
                return await self.publish(stream, kind, data, owner, session=own)
        values = {
            "stream": stream,
            "kind": kind,
            "data": storable_json(LIVE.value(dict(data))),
            "owner": owner,
            "channel": CHANNEL,
        }
        return int(await session.scalar(_PUBLISH, values))

    async def publish_all(
        self,
        drafts: Sequence[tuple[str, str, Mapping[str, Any], str | None]],
        session: Statements,
    ) -> None:
        """Append events (stream, kind, data, owner) in one statement of a session's transaction."""
        rows = [
            {"n": n, "stream": stream, "kind": kind, "data": LIVE.value(dict(data)), "owner": owner}
            for n, (stream, kind, data, owner) in enumerate(drafts)
        ]
        await session.scalar(_PUBLISH_ALL, {"drafts": storable_json(rows), "channel": CHANNEL})

    async def read(self, stream: str, after: int = 0, limit: int = 500) -> list[Event]:
        """Return the events of a stream with a number above `after`, oldest first."""
        async with self._db.session() as session:
            rows = await session.execute(_READ, {"stream": stream, "after": after, "limit": limit})
            return [Event(*row) for row in rows]

    async def last(self, stream: str) -> int:
        """Return the number of the stream's newest event, or 0."""
        async with self._db.session() as session:
            return int(await session.scalar(_NEWEST, {"stream": stream}) or 0)

    async def follow(self, stream: str, after: int = 0) -> AsyncIterator[Event]:
        """Yield events above `after`, first the past, then live, until `close`.

        While the database is away the follower waits; it misses nothing and sees nothing twice.
        """
        async for batch in self.batches(stream, after):
            for event in batch.events:
                yield event

    async def batches(self, stream: str, after: int = 0) -> AsyncIterator[Batch]:
        """Follow a stream like `follow`, taking together what is there together.

        Followers that are equally far get the same objects, and so share what is encoded.
        """
        async with self._tails.joined(stream) as tail:
            while (batch := await tail.since(after)) is not None:
                yield batch
                after = batch.last

    async def prune(self, older_than: timedelta) -> int:
        """Delete events older than this and return how many; numbers are never used again."""
        async with self._db.session() as session:
            done = await session.execute(_PRUNE, {"seconds": older_than.total_seconds()})
            return int(getattr(done, "rowcount", 0))

    async def close(self) -> None:
        """End every follower and stop listening."""
        await self._tails.close()

    async def __aenter__(self) -> "Events":
        """Return itself; listening begins with the first follower."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()
