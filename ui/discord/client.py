"""The bot: what Discord tells it goes to one concept each, and everything is caught here."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import discord
import structlog

from nebula.auth.principal import Surface
from nebula.errors import InternalError, NebulaError
from tools.discord.places import Places
from ui.discord import buttons, catch_up, messages, slash
from ui.discord.admission import Admission
from ui.discord.canvas import NOBODY
from ui.discord.cards import CardTable
from ui.discord.commands import Commands
from ui.discord.community.bot import CommunityBot
from ui.discord.drawing import Pace
from ui.discord.jobs import JobCards
from ui.discord.show import Stage
from ui.discord.turn import error_text
from ui.discord.watch import Watch

if TYPE_CHECKING:
    from graphs.jarvis.service import Jarvis
    from nebula.app import App

log = structlog.get_logger(__name__)


def intents(*, members: bool = False) -> discord.Intents:
    """Return what Discord is asked to tell: messages and what they say, and no presence.

    Who joins and leaves only when a community's settings need it: that intent is privileged.
    """
    return discord.Intents(
        guilds=True, guild_messages=True, dm_messages=True, message_content=True, members=members
    )


class Bot(discord.Client):
    """One connection to Discord over one open App. Reconnecting is the library's work."""

    def __init__(
        self,
        app: "App",
        jarvis: "Jarvis",
        pace: Pace | None = None,
        *,
        members: bool = False,
        problem: str = "",
    ) -> None:
        """Take the running program, whether to ask for members, and what it is short of."""
        self._pace = pace = pace or Pace()
        super().__init__(
            intents=intents(members=members),
            allowed_mentions=NOBODY,
            chunk_guilds_at_startup=False,
            member_cache_flags=discord.MemberCacheFlags.none(),
            max_messages=None,
            guild_ready_timeout=pace.ready,
            heartbeat_timeout=pace.heartbeat,
        )
        self.app, self.jarvis = app, jarvis
        self.places = Places(app.parts.db)
        self.admission = Admission(app.parts)
        self.cards = CardTable(app.parts)
        self.stage = Stage(self, pace)
        self.jobs = JobCards(self, pace)
        self.watch = Watch(self, pace)
        self.community = CommunityBot(app, pace)
        self._problem = problem
        registry = app.parts.registry
        self.commands = Commands(registry, registry.about)
        self._heard: set[asyncio.Task[Any]] = set()

    async def setup_hook(self) -> None:
        """Tell Discord the commands when they are not those that it has."""
        await slash.synchronize(self)
        self.watch.start()
        await self.community.start()

    async def before_identify_hook(self, _shard_id: int | None, *, initial: bool = False) -> None:
        """Wait as long as Discord wants between two greetings."""
        if not initial:
            await asyncio.sleep(self._pace.identify)

    def dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        """Hand an event on; what the library still says after the end is heard by nobody."""
        if not self.is_closed():
            super().dispatch(event, *args, **kwargs)

    async def close(self) -> None:
        """Leave: what is being drawn is drawn on by the next start."""
        await self.watch.stop()
        await self._stop_hearing()
        await self.community.stop()
        await self.stage.stop()
        await self.jobs.stop()
        await super().close()

    async def on_ready(self) -> None:
        """Note that it is there, and hear what was missed while it was away."""
        assert self.user is not None
        for guild in self.guilds:
            await self.admission.servers.joined(str(guild.id), guild.name)
        await self.admission.servers.note_bot(
            application_id=str(self.application_id),
            name=self.user.name,
            state="on",
            problem=self._problem,
        )
        log.info("discord_ready", bot=self.user.name, servers=len(self.guilds))
        await self._guarded(lambda: catch_up.catch_up(self))

    async def on_guild_join(self, guild: discord.Guild) -> None:
        """Note a server the bot was invited to."""
        await self.admission.servers.joined(str(guild.id), guild.name)

    async def on_guild_remove(self, guild: discord.Guild) -> None:
        """Note a server the bot was thrown out of."""
        await self.admission.servers.left(str(guild.id))

    async def on_message(self, message: discord.Message) -> None:
        """Hear a message, and look at it as the community bot."""
        # Side by side: neither waits for the other, and messages are begun in their order.
        await asyncio.gather(
            self.hear(message), self._guarded(lambda: self.community.heard(message))
        )

    async def on_raw_message_edit(self, edit: discord.RawMessageUpdateEvent) -> None:
        """Look at what a message was changed to."""
        if "content" in edit.data:
            await self._guarded(lambda: self.community.heard(edit.message, edited=True))

    async def on_member_join(self, member: discord.Member) -> None:
        """Greet somebody who has joined."""
        await self._guarded(lambda: self.community.joined(member))

    async def on_raw_member_remove(self, gone: discord.RawMemberRemoveEvent) -> None:
        """Count somebody who has left."""
        self.community.left(str(gone.guild_id))

    async def hear(self, message: discord.Message) -> None:
        """Hear a message that may be for Jarvis."""

        async def tell(text: str) -> None:
            await message.reply(text, mention_author=False, suppress_embeds=True)

        await self._told(lambda: messages.hear(self, message), tell)

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        """Hear a command, a button, a form, or somebody who is typing a value."""

        async def tell(text: str) -> None:
            await slash.whisper(interaction, text)

        kinds = discord.InteractionType
        match interaction.type:
            case kinds.autocomplete:
                await self._guarded(lambda: slash.suggest(self, interaction))
            case kinds.application_command:
                await self._told(lambda: slash.run(self, interaction), tell)
            case kinds.component | kinds.modal_submit:
                await self._told(lambda: buttons.decide(self, interaction), tell)
            case _:
                return

    async def on_error(self, event_method: str, /, *_args: Any, **_kwargs: Any) -> None:
        """Log what broke in the library's hands."""
        log.exception("discord_event_crashed", event=event_method)

    async def channel(self, channel_id: str) -> "discord.abc.MessageableChannel":
        """Return a channel by id, asked of Discord when it is not known."""
        found = self.get_channel(int(channel_id)) or await self.fetch_channel(int(channel_id))
        if not isinstance(found, discord.abc.Messageable):
            raise TypeError(f"{type(found).__name__} takes no messages")
        return found

    @property
    def surface(self) -> Surface:
        """Return the door that everything here comes through."""
        return Surface.DISCORD

    @asynccontextmanager
    async def _hearing(self) -> AsyncIterator[None]:
        """Keep the library's task for an event: it holds none itself, and waits for none."""
        task = asyncio.current_task()
        assert task is not None
        self._heard.add(task)
        try:
            yield
        finally:
            self._heard.discard(task)

    async def _stop_hearing(self) -> None:
        mine = self._heard - {asyncio.current_task()}
        for task in mine:
            task.cancel()
        if mine:
            await asyncio.wait(mine)

    async def _told(
        self, work: Callable[[], Awaitable[None]], tell: Callable[[str], Awaitable[None]]
    ) -> None:
        """Do the work; what goes wrong is told where it was asked."""
        try:
            try:
                async with self._hearing():
                    await work()
            except NebulaError as error:
                await tell(error_text(error.payload()))
        except discord.HTTPException as error:
            log.warning("discord_refused", status=error.status, why=str(error))
        except Exception:
            reference = f"{id(work):x}"[-8:]
            log.exception("discord_crashed", reference=reference)
            await self._guarded(lambda: tell(error_text(InternalError(reference).payload())))

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work; what goes wrong is only logged."""
        try:
            async with self._hearing():
                await work()
        except (NebulaError, discord.DiscordException) as error:
            log.warning("discord_failed", why=str(error))
        except Exception:
            # The door's outermost handler of what nobody asked for.
            log.exception("discord_crashed")
