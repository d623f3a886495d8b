"""Follows what is decided anywhere: questions on Discord change, and their turns go on there."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import discord
import structlog

from api.notices import notices_of
from nebula.auth.principal import Surface
from nebula.errors import NebulaError, NotAuthenticated
from nebula.markup.text import escape
from nebula.tool.approvals import STREAM
from tools.agents.ending import ALERTS
from tools.agents.telling import asks_elsewhere
from tools.discord.cards import Card
from ui.discord.canvas import ChannelCanvas
from ui.discord.drawing import Pace
from ui.discord.render import safe
from ui.discord.reports import report_due
from ui.discord.split import LIMIT

if TYPE_CHECKING:
    from ui.discord.client import Bot

log = structlog.get_logger(__name__)


class Watch:
    """What the bot does without being asked."""

    def __init__(self, bot: "Bot", pace: Pace) -> None:
        """Take the bot, and how often to look at questions whose time is over."""
        self._bot = bot
        self._pace = pace
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin; `stop` ends it."""
        self._own(self._attempt(self.take_up))
        self._own(self._again_and_again(self._listen))
        self._own(self._again_and_again(self._sweep))
        self._own(self._again_and_again(self._report))
        self._own(self._again_and_again(self._hear_alerts))

    async def stop(self) -> None:
        """End everything that goes on here."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def take_up(self) -> None:
        """Bring Discord up to date after this program was away."""
        for card in await self._bot.cards.cards.standing():
            await self._attempt(lambda card=card: self._refresh(card))  # type: ignore[misc]
        for user_id in await self._bot.admission.accounts.linked_users():
            await self._attempt(lambda user_id=user_id: self.ask_directly(user_id))  # type: ignore[misc]
        await self._attempt(self._bot.jobs.take_up)
        for turn in await self._bot.places.unfinished():
            session_id = turn.session_id
            await self._attempt(
                lambda session_id=session_id: self._bot.stage.show_again(session_id)  # type: ignore[misc]
            )

    async def _listen(self) -> None:
        events = self._bot.app.parts.events
        after = await events.last(STREAM)
        async for event in events.follow(STREAM, after):
            if event.kind == "approval.requested":
                owner = str(event.data.get("principal_id"))
                self._own(self._attempt(lambda owner=owner: self.ask_directly(owner)))  # type: ignore[misc]
            elif event.kind == "approval.decided":
                # In a task of its own: a turn that is still being drawn is waited for.
                self._own(self._attempt(lambda data=event.data: self._decided(data)))  # type: ignore[misc]

    async def ask_directly(self, user_id: str, *, everything: bool = False) -> None:
        """Ask somebody in a direct message what an agent or schedule of theirs waits for.

        What reports elsewhere on Discord asks there, unless it could not.
        """
        bot = self._bot
        there = await asks_elsewhere(bot.app.parts, user_id)
        accounts = await bot.admission.accounts.of_user(user_id)
        if not accounts:
            return
        discord_id = accounts[-1].discord_id
        principal = await bot.admission.accounts.principal(discord_id)
        for approval in await bot.app.parts.approvals.list(principal):
            mine = approval.principal_id == user_id and approval.surface == Surface.SCHEDULE
            if approval.agent in there and not everything:
                continue
            if not mine or await bot.cards.cards.of(approval.id) is not None:
                continue
            channel = await bot.create_dm(discord.Object(int(discord_id)))
            await bot.cards.put(approval, str(channel.id), discord_id, ChannelCanvas(channel))

    async def _hear_alerts(self) -> None:
        """Tell people directly what of theirs was switched off; agents report that themselves."""
        events = self._bot.app.parts.events
        async for event in events.follow(ALERTS, await events.last(ALERTS)):
            if event.owner is not None and event.data.get("source") != "agents":
                self._own(self._attempt(lambda owner=event.owner: self._say_what_stands(owner)))  # type: ignore[misc]

    async def _say_what_stands(self, user_id: str) -> None:
        bot = self._bot
        accounts = await bot.admission.accounts.of_user(user_id)
        if not accounts:
            return
        discord_id = accounts[-1].discord_id
        principal = await bot.admission.accounts.principal(discord_id)
        notices = await notices_of(bot.app.parts.db, principal)
        lines = [
            f"**{safe(escape(each.name))}** stands still: {safe(escape(each.said))}\n{safe(each.step)}"
            for each in notices
            if each.kind != "agent"
        ]
        if lines:
            channel = await bot.create_dm(discord.Object(int(discord_id)))
            await ChannelCanvas(channel).post("\n\n".join(lines)[:LIMIT])

    async def _decided(self, data: Mapping[str, Any]) -> None:
        bot = self._bot
        card = await bot.cards.cards.of(str(data.get("id")))
        if card is not None:
            await self._attempt(lambda: self._refresh(card))
        if session_id := data.get("session_id"):
            await bot.stage.show_again(str(session_id))

    async def _refresh(self, card: Card) -> None:
        bot = self._bot
        canvas = ChannelCanvas(await bot.channel(card.channel_id))
        try:
            principal = await bot.admission.accounts.principal(card.discord_id)
        except NotAuthenticated:
            # Nobody is left whose question it was: it asks no more.
            await canvas.edit(card.message_id, "*This question is no longer open.*")
            await bot.cards.cards.close(card.approval_id)
            return
        await bot.cards.refresh(card, principal, canvas)

    async def _report(self) -> None:
        await report_due(self._bot)
        await asyncio.sleep(self._pace.sweep)

    async def _sweep(self) -> None:
        """Close questions whose time is over, and give up turns whose process is gone."""
        bot = self._bot
        for card in await bot.cards.cards.expired():
            await self._attempt(lambda card=card: self._refresh(card))  # type: ignore[misc]
        for turn in await bot.places.unfinished():
            if turn.state == "open" and await bot.jarvis.is_lost(turn.session_id):
                await bot.stage.drop(turn.turn_id)
                await bot.stage.show_again(turn.session_id)
        await asyncio.sleep(self._pace.sweep)

    def _own(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _again_and_again(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._attempt(work)
            await asyncio.sleep(min(1.0, self._pace.sweep))

    async def _attempt(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do one piece of work; whatever goes wrong with it, the others go on."""
        try:
            await work()
        except (NebulaError, discord.DiscordException) as error:
            log.warning("discord_upkeep_failed", why=str(error))
        except Exception:
            # The outermost handler of work that nobody waits for.
            log.exception("discord_upkeep_crashed")
