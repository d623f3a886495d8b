"""Turns being drawn: one at a time per session, each in a task that the bot owns."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import discord
import structlog

from graphs.events import ChatEvent
from nebula.auth.principal import Caller, Principal
from nebula.errors import NebulaError
from tools.discord.places import ShownTurn
from ui.discord.canvas import Canvas, ChannelCanvas, Gone
from ui.discord.drawing import Drawing, Pace, typing
from ui.discord.turn import TurnView

if TYPE_CHECKING:
    from ui.discord.client import Bot

log = structlog.get_logger(__name__)


class Stage:
    """Where answers are shown."""

    def __init__(self, bot: "Bot", pace: Pace) -> None:
        """Take the bot, and how often messages may be edited."""
        self._bot = bot
        self._pace = pace
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._places: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def in_order(self, place: str, discord_id: str) -> asyncio.Lock:
        """Return what lets the messages of somebody in a place begin their turns in order."""
        return self._places.setdefault((place, discord_id), asyncio.Lock())

    def show(
        self,
        turn: ShownTurn,
        events: AsyncIterator[ChatEvent],
        canvas: Canvas,
        who: Principal,
        *,
        typing_in: discord.abc.Messageable | None = None,
        resumed: bool = False,
    ) -> None:
        """Draw a turn in the background, unless it is being drawn already."""
        if turn.turn_id in self._tasks:
            return
        work = self._drawn(turn, events, canvas, who, typing_in, resumed=resumed)
        task = asyncio.create_task(work, name=f"discord-turn-{turn.turn_id}")
        self._tasks[turn.turn_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(turn.turn_id, None))

    async def show_again(self, session_id: str) -> None:
        """Go on showing a session's turn: after a decision, or after this program was away."""
        bot = self._bot
        turn = await bot.places.latest(session_id)
        if turn is not None and (task := self._tasks.get(turn.turn_id)) is not None:
            # What it drew last is the question that was decided meanwhile.
            await asyncio.wait([task])
            turn = await bot.places.latest(session_id)
        if turn is None or turn.state == "shown" or turn.turn_id in self._tasks:
            return
        principal = await bot.admission.accounts.principal(turn.discord_id)
        caller = Caller(principal, bot.surface, session_id=session_id)
        canvas = ChannelCanvas(await bot.channel(turn.channel_id))
        resumed = turn.state == "waiting"
        if resumed:
            turn = await bot.places.settle(turn)
        # This turn, not the session's present one: another may have begun since.
        events = bot.jarvis.resume(caller, session_id, turn.turn_id)
        self.show(turn, events, canvas, principal, resumed=resumed)

    async def drop(self, turn_id: str) -> None:
        """Stop drawing one turn."""
        if (task := self._tasks.get(turn_id)) is not None:
            task.cancel()
            await asyncio.wait([task])

    async def stop(self) -> None:
        """Stop drawing; the turns themselves go on."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _drawn(
        self,
        turn: ShownTurn,
        events: AsyncIterator[ChatEvent],
        canvas: Canvas,
        who: Principal,
        typing_in: discord.abc.Messageable | None,
        *,
        resumed: bool,
    ) -> None:
        bot, over = self._bot, asyncio.Event()
        view = TurnView(bot.app.parts.settings.link)
        drawing = Drawing(turn, view, canvas, places=bot.places, pace=self._pace)
        seen = None if typing_in is None else asyncio.create_task(typing(typing_in, over))

        async def check() -> Principal:
            return await bot.admission.accounts.principal(turn.discord_id)

        try:
            await drawing.draw(events, check=check, cards=bot.cards, resumed=resumed)
            if view.outcome != "stopped":
                await bot.jobs.put(view, turn)
            else:
                # Whoever may no longer ask for anything is not worked for either.
                caller = Caller(who, bot.surface, session_id=turn.session_id)
                with suppress(NebulaError):
                    await bot.jarvis.cancel(caller, turn.session_id)
        except Gone:
            pass
        except (NebulaError, discord.DiscordException) as error:
            # The turn goes on; what is missing is drawn at the next start.
            log.warning("discord_not_shown", turn=turn.turn_id, why=str(error))
        except Exception:
            # The outermost handler of a task nobody waits for.
            log.exception("discord_drawing_crashed", turn=turn.turn_id)
        finally:
            over.set()
            if seen is not None:
                await asyncio.wait([seen])
