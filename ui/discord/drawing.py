"""Puts a turn on Discord: messages that grow by edits, no oftener than Discord allows."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import discord
import structlog

from graphs.events import ChatEvent, ErrorEvent
from nebula.errors import InternalError, NebulaError, NotAuthenticated
from tools.discord.places import Places, ShownTurn, State
from ui.discord.canvas import Canvas, Gone
from ui.discord.turn import TurnView

if TYPE_CHECKING:
    from nebula.auth.principal import Principal
    from ui.discord.cards import CardTable

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Pace:
    """How often things are done, in seconds."""

    edit: float = 1.25
    """Between two rounds of edits: four in five seconds, of the five that Discord allows."""
    look: float = 1.0
    """How often the person's rights are looked at while an answer is drawn."""
    job: float = 2.5
    """Between two edits of the message that follows a job; several share one channel."""
    sweep: float = 5.0
    """How often questions are looked through for those whose time is over."""
    ready: float = 2.0
    """How long the servers that Discord tells of at the start are waited for."""
    identify: float = 5.0
    """Between two greetings of Discord, when a session could not be resumed."""
    heartbeat: float = 60.0
    """After so long without a sign from Discord, a connection is given up."""
    act: float = 0.25
    """Between two things the community bot does: whoever it acts as keeps room for their own."""
    retry: float = 5.0
    """Before trying again when Discord cannot be reached; doubled each time, to five minutes."""


Check = Callable[[], Awaitable["Principal"]]
"""Returns whose turn it is, as long as they may see it; raises NotAuthenticated once they may not."""


class Drawing:
    """One turn on its way to Discord."""

    def __init__(
        self, turn: ShownTurn, view: TurnView, canvas: Canvas, *, places: Places, pace: Pace
    ) -> None:
        """Take the turn, what it looks like, where it goes, and what keeps track."""
        self._turn = turn
        self._view = view
        self._canvas = canvas
        self._places = places
        self._pace = pace
        self._before = turn.shown[: turn.settled]
        self._shown = turn.shown[turn.settled :]
        self._sent: list[str | None] = [None] * len(self._shown)
        self._changed = asyncio.Event()
        self._over = asyncio.Event()

    async def draw(
        self,
        events: AsyncIterator[ChatEvent],
        *,
        check: Check,
        cards: "CardTable",
        resumed: bool = False,
    ) -> None:
        """Show a turn until it ends or waits; `check` raises once its person may see no more."""
        reading = asyncio.create_task(self._read(events), name=f"discord-{self._turn.turn_id}")
        try:
            while not self._view.done:
                if await self._something_new():
                    # Before looking: what comes while Discord answers is for the next round.
                    self._changed.clear()
                    await self._put()
                    await self._pause()
                await self._still_allowed(check)
            await self._finish(cards, check, resumed=resumed)
        except Gone as error:
            log.info("discord_answer_gone", turn=self._turn.turn_id, why=str(error))
            await self._note("shown")
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    async def _read(self, events: AsyncIterator[ChatEvent]) -> None:
        view = self._view
        try:
            async for event in events:
                view.take(event)
                self._changed.set()
        except NebulaError as error:
            view.take(ErrorEvent(error=error.payload()))
        except Exception:
            # The outermost handler of what is drawn: nothing above it would tell the person.
            reference = self._turn.turn_id[:12]
            log.exception("discord_drawing_crashed", reference=reference)
            view.take(ErrorEvent(error=InternalError(reference).payload()))
        if not view.done:
            view.outcome = "failed"
        self._over.set()
        self._changed.set()

    async def _something_new(self) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pace.look):
                await self._changed.wait()
                return True
        return False

    async def _pause(self) -> None:
        """Wait until the next round; the end of the turn is not waited for longer than that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pace.edit):
                await self._over.wait()

    async def _still_allowed(self, check: Check) -> None:
        if self._view.done:
            return
        try:
            await check()
        except NotAuthenticated as error:
            self._view.stop(str(error))

    async def _put(self) -> None:
        for at, page in enumerate(self._view.pages()):
            if at >= len(self._shown):
                self._shown.append(await self._canvas.post(page, nonce=self._nonce(at)))
                self._sent.append(page)
                await self._note("open")
            elif self._sent[at] != page:
                # Set first: when the edit fails halfway, the end is edited again anyway.
                self._sent[at] = page
                await self._canvas.edit(self._shown[at], page)

    async def _finish(self, cards: "CardTable", check: Check, *, resumed: bool) -> None:
        view = self._view
        waits = view.outcome == "waiting"
        # A question that still stands, told again, is on Discord already.
        if not (resumed and waits and not view.acted):
            await self._put()
            await self._take_back_what_is_left()
            if view.files:
                self._shown.append(await self._canvas.post("", files=view.files[:10]))
        for asked in view.approvals:
            await cards.ask(asked.approval_id, self._turn, self._canvas, check)
        await self._note("waiting" if waits else "shown")

    async def _take_back_what_is_left(self) -> None:
        """Empty messages of an answer that became shorter, as when a stream began anew."""
        pages = len(self._view.pages())
        for at in range(max(1, pages), len(self._shown)):
            if self._sent[at] is not None:
                await self._canvas.edit(self._shown[at], "-# …")

    async def _note(self, state: State) -> None:
        await self._places.note_shown(self._turn.turn_id, [*self._before, *self._shown], state)

    def _nonce(self, at: int) -> str:
        return f"{self._turn.turn_id[:18]}-{len(self._before) + at}"


async def typing(channel: discord.abc.Messageable, stop: asyncio.Event) -> None:
    """Show that Jarvis is typing until told to stop; whether it is seen does not matter."""
    with suppress(discord.HTTPException):
        async with channel.typing():
            await stop.wait()
