"""What goes on beside the turns: signs of life, approvals, idle sessions, old checkpoints."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from graphs.jarvis.crew import Crew
from knowledge.manual import ensure_manual
from memory.checkpoints import Checkpoints
from memory.sessions import Housekeeping
from memory.turns import Turns
from nebula.errors import NebulaError
from nebula.events.bus import Events
from nebula.tool import approvals

if TYPE_CHECKING:
    from graphs.jarvis.service import Jarvis
    from graphs.jarvis.unattended import Unattended
    from nebula.app import Parts

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Pace:
    """How often each thing is looked at, in seconds."""

    beat: float = 1.0
    approvals: float = 5.0
    idle: float = 60.0


@dataclass(frozen=True)
class Caretaker:
    """Keeps Jarvis going without being asked."""

    jarvis: "Jarvis"
    turns: Turns
    housekeeping: Housekeeping
    crew: Crew
    checkpoints: Checkpoints
    events: Events
    idle_minutes: float
    parts: "Parts"
    pace: Pace = Pace()
    unattended: "Unattended | None" = None

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Work while the block runs."""
        tasks = [
            asyncio.create_task(self._every(self.pace.beat, self.jarvis.beat), name="turn-beat"),
            asyncio.create_task(self._every(self.pace.approvals, self.look_for_decisions)),
            asyncio.create_task(self._every(self.pace.idle, self.tidy)),
            asyncio.create_task(self._every(self.pace.approvals, self._listen), name="approvals"),
            asyncio.create_task(self._attempt(self._prepare), name="prepare"),
        ]
        if self.unattended is not None:
            for duty in self.unattended.duties:
                again = self._every(self.pace.beat, duty)
                tasks.append(asyncio.create_task(again, name=f"agents-{duty.__name__}"))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def look_for_decisions(self) -> None:
        """Go on with every turn whose approval was decided or has expired."""
        for session_id in await self.turns.decided():
            await self.jarvis.go_on(session_id)

    async def tidy(self) -> None:
        """Close idle sessions, summarise closed ones, and drop what is old."""
        await self.housekeeping.close_idle(self.idle_minutes)
        for session_id in await self.housekeeping.unsummarised():
            transcript = await self.housekeeping.transcript(session_id)
            summary = await self.crew.summary(transcript)
            await self.housekeeping.summarise(session_id, summary)
            await self.checkpoints.keep_latest([session_id])
        await self.checkpoints.keep_latest(self.jarvis.grown_threads())
        await self.parts.judge.vouching.prune()
        await self.events.prune(timedelta(days=self.parts.settings.events_kept_days))
        if self.unattended is not None:
            await self.unattended.tidy()

    async def _prepare(self) -> None:
        """Do in the background what the first request would else wait for."""
        if not self.parts.settings.warm_start:
            return
        await self.parts.commands.index.warm()
        await ensure_manual(self.parts)

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._attempt(work)
            await asyncio.sleep(seconds)

    async def _attempt(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do one piece of work; whatever goes wrong with it, the next one is not given up."""
        try:
            await work()
        except NebulaError as error:
            log.warning("upkeep_failed", work=work.__name__, error=str(error))
        except Exception:
            # The outermost handler of this work: nothing above it would hear of a bug.
            log.exception("upkeep_crashed", work=work.__name__)

    async def _listen(self) -> None:
        """Hear of decisions at once; looking again now and then is what can be relied on."""
        after = await self.events.last(approvals.STREAM)
        async for event in self.events.follow(approvals.STREAM, after):
            if event.kind == "approval.decided":
                await self._attempt(self.look_for_decisions)
