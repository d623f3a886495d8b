"""Anchors the audit log at intervals, and when the program ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import text

from nebula.errors import NebulaError
from nebula.settings import Settings
from nebula.tool.audit.anchors import Anchor, append, last
from nebula.tool.audit.log import Audit, now
from nebula.tool.audit.verify import ANCHORED

if TYPE_CHECKING:
    from nebula.db.engine import Database

log = structlog.get_logger(__name__)

_HEAD = text("SELECT seq, hash FROM audit_head")
ALONE = "hashtext('nebula.audit.anchors')"
"""The advisory lock: one process anchors at a time; who holds it keeps log and file as they are."""
_ALONE = text(f"SELECT pg_advisory_xact_lock({ALONE})")
_LOOK_SECONDS = 15.0


class Anchoring:
    """Writes anchors where the settings say."""

    def __init__(self, db: "Database", audit: Audit, settings: Settings) -> None:
        """Take the log, and where and how often to anchor it."""
        self._db = db
        self._audit = audit
        self._path = settings.anchors
        self._key = settings.audit_anchor_key.get_secret_value()
        self._seconds = settings.audit_anchor_minutes * 60
        self._lines = settings.audit_anchor_lines

    async def anchor(self) -> Anchor | None:
        """Anchor the log as it is; None when nothing happened since the last anchor.

        Raises:
            OSError: when the file cannot be written.
        """
        async with self._db.session() as session:
            await session.execute(_ALONE)
            head = (await session.execute(_HEAD)).one()
            before = await asyncio.to_thread(last, self._path)
            if not self._is_news(head.seq, before):
                return None
            made = await asyncio.to_thread(
                append, self._path, head.seq, bytes(head.hash), now(), self._key
            )
            await self._audit.append(session, self._line(made))
        log.debug("audit_anchored", line=made.seq, number=made.number)
        return made

    def _is_news(self, seq: int, before: Anchor | None) -> bool:
        if before is None:
            return seq > 0
        if self._key and not before.mac:
            return True
        # The line about the last anchor itself is no news.
        return not before.seq <= seq <= before.seq + 1

    def _line(self, made: Anchor) -> dict[str, object]:
        return {
            "principal": "system",
            "surface": "system",
            "tool": ANCHORED,
            "call_id": f"anchor-{made.file[:8]}-{made.number}",
            "session_id": None,
            "outcome": "ok",
            "detail": {
                "file": made.file,
                "path": str(self._path.absolute()),
                "number": made.number,
                "seq": made.seq,
                "sha256": made.sha256,
            },
        }

    async def due(self, waited: float) -> bool:
        """Say whether it is time, so many seconds after the last look that found news."""
        if waited >= self._seconds:
            return True
        async with self._db.session() as session:
            head = (await session.execute(_HEAD)).one()
        before = await asyncio.to_thread(last, self._path)
        return bool(head.seq - (before.seq if before else 0) >= self._lines)

    async def run(self) -> None:
        """Anchor now, and from then on whenever it is due."""
        await self._try()
        waited = 0.0
        pause = min(_LOOK_SECONDS, self._seconds)
        while True:
            await asyncio.sleep(pause)
            waited += pause
            try:
                if not await self.due(waited):
                    continue
            except NebulaError:
                continue  # the database is away; there is nothing new either
            await self._try()
            waited = 0.0

    async def _try(self) -> None:
        try:
            await self.anchor()
        except (OSError, NebulaError) as error:
            log.error("audit_not_anchored", file=str(self._path), error=str(error))

    async def end(self) -> None:
        """Anchor what came last, before the program ends."""
        await self._try()


@asynccontextmanager
async def anchoring(db: "Database", audit: Audit, settings: Settings) -> AsyncIterator[None]:
    """Keep the log anchored until the end of the block, and at it."""
    keeper = Anchoring(db, audit, settings)
    running = asyncio.create_task(keeper.run(), name="audit-anchors")
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait([running])
        await keeper.end()
