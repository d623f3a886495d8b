"""The kill switch: while it is thrown, nothing takes effect in any process."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING

import structlog
from pydantic import BaseModel
from sqlalchemy import text

from nebula.db.engine import Database
from nebula.errors import NebulaError

if TYPE_CHECKING:
    from nebula.events.bus import Events

log = structlog.get_logger(__name__)

STREAM = "policy"
_POLL_SECONDS = 1.0
_READ = text("SELECT CAST(row_to_json(p) AS text) FROM policy_pause p")
_THROW = text(
    "INSERT INTO policy_pause (reason, by) VALUES (:reason, :by)"
    " ON CONFLICT (one) DO UPDATE SET reason = excluded.reason, by = excluded.by"
    " RETURNING CAST(row_to_json(policy_pause) AS text)"
)
_RELEASE = text("DELETE FROM policy_pause RETURNING CAST(row_to_json(policy_pause) AS text)")


class Stopped(BaseModel, frozen=True):
    """Who stopped everything, when and why."""

    reason: str
    by: str
    at: datetime

    def __str__(self) -> str:
        because = f": {self.reason}" if self.reason else ""
        return f"{self.by} paused it at {self.at:%H:%M}{because}"


class Pause:
    """Reads and moves the switch; its row is the truth for every process."""

    def __init__(self, db: Database, events: "Events") -> None:
        """Take the database, and where a move is announced."""
        self._db = db
        self._events = events

    async def now(self) -> Stopped | None:
        """Return the pause in force, if there is one."""
        async with self._db.bare() as bare:
            return _paused(await bare.scalar(_READ, {}))

    async def throw(self, by: str, reason: str) -> Stopped:
        """Stop every effect, in every process; thrown again, it takes the new reason."""
        async with self._db.session() as session:
            paused = _paused(
                await session.scalar(_THROW, {"by": by, "reason": reason.strip()[:500]})
            )
            assert paused is not None
            data = paused.model_dump(mode="json")
            await self._events.publish(STREAM, "policy.paused", data, session=session)
        return paused

    async def release(self, by: str) -> Stopped | None:
        """Let effects happen again; return the pause that ended, None when there was none."""
        async with self._db.session() as session:
            paused = _paused(await session.scalar(_RELEASE, {}))
            if paused is not None:
                await self._events.publish(STREAM, "policy.resumed", {"by": by}, session=session)
        return paused

    async def follow(self, stop: Callable[[Stopped], None]) -> None:
        """Call `stop` when the switch is thrown, at once where events arrive, else within a second."""
        hint = asyncio.Event()
        listening = asyncio.create_task(self._listen(hint), name="pause events")
        known: Stopped | None = None
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_SECONDS):
                        await hint.wait()
                hint.clear()
                with suppress(NebulaError):  # the database is away, and so is every effect
                    now = await self.now()
                    if now is not None and now != known:
                        stop(now)
                    known = now
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _listen(self, hint: asyncio.Event) -> None:
        while True:
            began = time.monotonic()
            try:
                after = await self._events.last(STREAM)
                async for _ in self._events.follow(STREAM, after):
                    hint.set()
            except NebulaError as error:
                log.debug("pause_events_lost", error=str(error))
            await asyncio.sleep(max(0.0, _POLL_SECONDS - (time.monotonic() - began)))


def _paused(row: str | None) -> Stopped | None:
    return None if row is None else Stopped.model_validate_json(row)


@asynccontextmanager
async def following(pause: Pause, stop: Callable[[Stopped], None]) -> AsyncIterator[None]:
    """Follow the switch until the end of the block."""
    task = asyncio.create_task(pause.follow(stop), name="pause")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
