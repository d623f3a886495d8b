"""What a conversation may be used for, where that is less than its person may."""

import asyncio
import time

from sqlalchemy import text

from nebula.auth.grant import EVERYTHING, READ_ONLY, Grant
from nebula.auth.principals import FRESH_SECONDS
from nebula.db.engine import Database

# A second look at what changed lately: a row may be seen a moment after its time of writing.
_CHANGED = text(
    "SELECT session_id, allowed, denied, extract(epoch FROM changed_at)::float8"
    " FROM auth_session_grants WHERE changed_at > to_timestamp(:since)"
)
_PUT = text(
    "INSERT INTO auth_session_grants (session_id, allowed, denied) VALUES (:id, :allowed, :denied)"
    " ON CONFLICT (session_id) DO UPDATE SET allowed = excluded.allowed,"
    " denied = excluded.denied, changed_at = clock_timestamp()"
)
_OVERLAP = 10.0


class SessionGrants:
    """Narrowed conversations; every process learns of a change in less than a second.

    At most a few statements a second ask what changed, however many calls there are.
    """

    def __init__(self, db: Database) -> None:
        """Start with nothing known."""
        self._db = db
        self._known: dict[str, Grant] = {}
        self._read_at = float("-inf")
        self._mark = 0.0
        self._reading = asyncio.Lock()

    async def of(self, session_id: str | None) -> Grant | None:
        """Return what a conversation is narrowed to; None when it is not."""
        if session_id is None:
            return None
        if time.monotonic() - self._read_at >= FRESH_SECONDS:
            async with self._reading:
                if time.monotonic() - self._read_at >= FRESH_SECONDS:
                    await self._read()
        return self._known.get(session_id)

    async def put(self, session_id: str, grant: Grant | None) -> None:
        """Narrow a conversation, or (None) let it do again what its person may."""
        kept = EVERYTHING if grant is None else grant
        values = {"id": session_id, "allowed": sorted(kept.allowed), "denied": sorted(kept.denied)}
        async with self._db.session() as s:
            await s.execute(_PUT, values)
        self._remember(session_id, kept)

    async def is_read_only(self, session_id: str) -> bool:
        """Say whether a conversation only looks."""
        return await self.of(session_id) == READ_ONLY

    async def _read(self) -> None:
        asked_at = time.monotonic()
        async with self._db.bare(writes=False) as bare:
            cursor = await bare.execute(_CHANGED, {"since": self._mark - _OVERLAP})
            for session_id, allowed, denied, changed_at in await cursor.fetchall():
                self._remember(session_id, Grant(frozenset(allowed), frozenset(denied)))
                self._mark = max(self._mark, changed_at)
        self._read_at = asked_at

    def _remember(self, session_id: str, grant: Grant) -> None:
        if grant == EVERYTHING:
            self._known.pop(session_id, None)
        else:
            self._known[session_id] = grant
