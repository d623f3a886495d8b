"""The community bot: hears what happens on servers, and carries out what their settings say."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import discord
import structlog

from nebula.auth.principal import Caller, Surface
from nebula.errors import NebulaError, NotAuthenticated
from nebula.policy.labels import Label
from tools.discord.community import raid
from tools.discord.community.actions import Actions
from tools.discord.community.counting import Counts, Tally
from tools.discord.community.engine import Facts, Recent, judge
from tools.discord.community.raid import Brake
from tools.discord.community.store import Communities, Kept
from tools.discord.community.words import Words
from tools.discord.settings import DiscordSettings
from ui.discord.community.answers import Cooldowns, asked
from ui.discord.community.deeds import Deeds, calm_id
from ui.discord.community.facts import facts_of

if TYPE_CHECKING:
    from nebula.app import App
    from ui.discord.drawing import Pace

log = structlog.get_logger(__name__)

_PRUNE_SECONDS = 3600.0
_MOST_DUE = 100
"""While so much is to be done, commands are not answered."""
_SYSTEM = frozenset({Label.SYSTEM})


class CommunityBot:
    """What one connection does for communities; an ordinary message costs no question to anybody."""

    def __init__(self, app: "App", pace: "Pace") -> None:
        """Take the running program, and how often to look."""
        self._app, self._pace = app, pace
        db = app.parts.db
        self._store, self._actions, self._counts = Communities(db), Actions(db), Counts(db)
        self._deeds = Deeds(app.parts)
        self._kept: Mapping[str, Kept] = {}
        self._words: dict[str, Words] = {}
        self._version: tuple[int, int] | None = None
        self._recent, self._cooldowns, self._tally = Recent(), Cooldowns(), Tally()
        self._brakes: dict[str, tuple[Brake, str]] = {}
        self._due: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._pruned = 0.0
        self._needs_members = False
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Read the settings, and begin; `stop` ends it."""
        await self._refresh()
        for work in (self._look, self._work):
            self._tasks.append(asyncio.create_task(self._forever(work), name="discord-community"))

    async def stop(self) -> None:
        """End it; what was counted is written down, what is due stays due."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks.clear()
        await self._attempt(self._write)
        await self._attempt(lambda: self._tally.release(self._app.parts.db))

    async def until(self, differs: Callable[[bool], bool]) -> None:
        """Wait until the settings need to know who joins and leaves, or no longer do."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if differs(self._needs_members):
                return

    async def heard(self, message: discord.Message, *, edited: bool = False) -> None:
        """Look at a message: does it break a rule, give a command, or only count?"""
        facts = facts_of(message, edited=edited)
        kept = None if facts is None else self._kept.get(facts.guild_id)
        if facts is None or kept is None or message.author.bot:
            return
        settings = kept.settings
        if settings.count and not edited:
            self._tally.add(facts.guild_id, "message", facts.parent_id or facts.channel_id)
        if await self._judged(facts, message.author.display_name, kept):
            return
        found = asked(facts, settings)
        crowded = self._due.qsize() >= _MOST_DUE
        if found is not None and not crowded and self._cooldowns.take(facts, found[0]):
            self._put(await self._deeds.answer(facts, message, *found))

    async def joined(self, member: discord.Member) -> None:
        """Greet somebody who has joined, or hold them when it is a raid."""
        guild_id = str(member.guild.id)
        kept = self._kept.get(guild_id)
        if kept is None or member.bot:
            return
        if kept.settings.count:
            self._tally.add(guild_id, "join")
        rules = kept.settings.moderation
        if rules.mode != "off" and rules.raid.joins and await self._rushed(member, kept):
            return
        self._put(await self._deeds.greet(member, kept.settings))

    def left(self, guild_id: str) -> None:
        """Count somebody who has left."""
        kept = self._kept.get(guild_id)
        if kept is not None and kept.settings.count:
            self._tally.add(guild_id, "leave")

    async def _judged(self, facts: Facts, name: str, kept: Kept) -> bool:
        """Decide about a message; True when it broke a rule."""
        rules = kept.settings.moderation
        recent = self._recent.of(facts)
        offence = judge(facts, rules, self._words[facts.guild_id], recent)
        if rules.mode != "off" and not facts.edited:
            self._recent.note(facts)
        if offence is None:
            return False
        penalty = not self._recent.penalized(facts, offence)
        self._put(await self._deeds.punish(facts, name, offence, rules, penalty=penalty))
        return True

    async def _rushed(self, member: discord.Member, kept: Kept) -> bool:
        guild_id, now = str(member.guild.id), time.monotonic()
        rules = kept.settings.moderation
        brake, rush = self._brakes.get(guild_id, (Brake(), ""))
        pulled = raid.joined(brake, rules.raid, str(member.id), now)
        if pulled.began:
            rush = str(member.id)
        self._brakes[guild_id] = (pulled.brake, rush)
        if not pulled.held:
            return False
        self._put(await self._deeds.brake(member, pulled, rules, rush))
        if pulled.brake.until > brake.until and not pulled.began and rules.mode == "act":
            await self._attempt(lambda: self._calm_later(guild_id, rush, pulled.brake.until - now))
        return True

    async def _calm_later(self, guild_id: str, rush: str, seconds: float) -> None:
        await self._actions.later(calm_id(guild_id, rush), seconds)

    def _put(self, ids: list[str]) -> None:
        for each in ids:
            if each not in self._queued:
                self._queued.add(each)
                self._due.put_nowait(each)

    async def _work(self) -> None:
        """Carry out one thing; they are done one after another, as Discord wants it."""
        action_id = await self._due.get()
        self._queued.discard(action_id)
        action = await self._actions.get(action_id)
        kept = self._kept.get(action.guild_id)
        if kept is None:
            await self._actions.end(action_id, "dropped", "Nothing is set for this server")
            return
        caller = Caller(kept.acting(), Surface.SYSTEM, labels=_SYSTEM)
        call_id = f"discord:{action_id}:{action.tries}"
        try:
            await self._app.executor.execute(
                "discord_act", {"action": action_id}, caller=caller, call_id=call_id
            )
        except NotAuthenticated:
            await self._actions.end(action_id, "failed", f"{kept.owner_name} is gone")
        except NebulaError as error:
            log.warning("discord_action_failed", action=action_id, why=str(error))
        await asyncio.sleep(self._pace.act)

    async def _look(self) -> None:
        """Take up changed settings and what has become due, and write down what was counted."""
        await asyncio.sleep(self._pace.sweep)
        await self._attempt(self._refresh)
        if self._kept:
            self._put([each.id for each in await self._actions.due()])
            await self._attempt(self._write)

    async def _refresh(self) -> None:
        version = await self._store.changed()
        if version == self._version:
            return
        kept = {each.guild_id: each for each in await self._store.all()}
        self._words = {key: Words(each.settings.moderation.words) for key, each in kept.items()}
        self._kept, self._version = kept, version
        self._needs_members = any(each.settings.wants_members for each in kept.values())
        self._changed.set()

    async def _write(self) -> None:
        db = self._app.parts.db
        await self._tally.write(db)
        if time.monotonic() - self._pruned > _PRUNE_SECONDS or not self._pruned:
            self._pruned = time.monotonic()
            days = self._app.parts.settings_of(DiscordSettings).kept_days
            await self._counts.prune(days)
            await self._actions.prune(days)

    async def _forever(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._attempt(work)

    async def _attempt(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do one piece of work; whatever goes wrong with it, the next is done."""
        try:
            await work()
        except (NebulaError, discord.DiscordException) as error:
            log.warning("discord_community_failed", why=str(error))
            await asyncio.sleep(min(1.0, self._pace.sweep))
        except Exception:
            # The outermost handler of work that nobody waits for.
            log.exception("discord_community_crashed")
            await asyncio.sleep(min(1.0, self._pace.sweep))
