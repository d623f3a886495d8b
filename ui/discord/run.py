"""Keeps the bot running: alone as `jarvis discord`, or beside the server of `jarvis up`."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import aiohttp
import discord
import structlog

from nebula.errors import InvalidInput, NebulaError, NotAuthenticated
from tools.discord.community.store import Communities
from tools.discord.servers import Servers
from tools.discord.settings import DiscordSettings
from ui.discord.client import Bot
from ui.discord.drawing import Pace

if TYPE_CHECKING:
    from graphs.jarvis.service import Jarvis
    from nebula.app import App

log = structlog.get_logger(__name__)

_LONGEST_WAIT = 300.0
_NO_MEMBERS = (
    "Welcome, roles of new members, the raid brake and counting joins wait: switch on “Server"
    " Members Intent” for the bot in Discord's developer portal, then restart."
)
_BAD_TOKEN, _BAD_INTENTS = 4004, 4014
_AWAY = (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError, NebulaError)


def alone() -> None:
    """Run the bot in this process until SIGTERM or Ctrl-C.

    Raises:
        NebulaError: as `keep` does.
    """
    from nebula.log import configure_logging
    from ui.cli.operator import read_settings

    settings = read_settings()
    _token(DiscordSettings())
    configure_logging(settings.log_format, settings.log_level)
    asyncio.run(_until_stopped())
    sys.stderr.write("Stopped.\n")


async def _until_stopped() -> None:
    from graphs.jarvis.service import open_jarvis
    from nebula.app import open_app
    from ui.cli.operator import read_settings

    async with open_app(read_settings()) as app, open_jarvis(app) as jarvis:
        work = asyncio.create_task(keep(app, jarvis), name="discord")
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, work.cancel)
        with suppress(asyncio.CancelledError):
            await work


async def keep(app: "App", jarvis: "Jarvis", pace: Pace | None = None) -> None:
    """Run the bot until cancelled; a lost connection is found again, a refusal ends it.

    Raises:
        InvalidInput: when there is no token, or a needed intent is switched off.
        NotAuthenticated: when Discord refuses the token.
    """
    token = _token(app.parts.settings_of(DiscordSettings))
    pace = pace or Pace()
    servers, wait = Servers(app.parts.db), pace.retry
    wants = Wants(Communities(app.parts.db))
    while True:
        try:
            await wants.look()
            bot = Bot(app, jarvis, pace, members=wants.asks, problem=wants.problem)
            if await _ran(bot, token, wants):
                continue
            return
        except asyncio.CancelledError:
            await asyncio.shield(servers.note_bot(state="off", problem=""))
            raise
        except _AWAY as error:
            if wants.refused(error):
                # Without the members it goes on: talking needs no more than it has.
                log.warning("discord_members_refused", next_step=wants.problem)
                continue
            refused = _refusal(error)
            if refused is not None:
                await servers.note_bot(state="off", problem=f"{refused} {refused.hint}")
                raise refused from error
            log.warning("discord_away", why=str(error), again_in=wait)
            await servers.note_bot(state="away", problem=str(error)[:200])
        await asyncio.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT)


class Wants:
    """Whether Discord is asked who joins and leaves: when settings need it and it was not refused."""

    def __init__(self, store: Communities) -> None:
        """Take the settings of the servers."""
        self._store = store
        self._needed = self._no = False

    @property
    def asks(self) -> bool:
        """Say whether it is asked for."""
        return self._needed and not self._no

    @property
    def problem(self) -> str:
        """Say what is missing and where to switch it on; empty when nothing is."""
        return _NO_MEMBERS if self._needed and self._no else ""

    async def look(self) -> None:
        """Read whether it is needed; when it no longer is, a refusal is forgotten."""
        self._needed = any(each.settings.wants_members for each in await self._store.all())
        self._no = self._no and self._needed

    def refused(self, error: BaseException) -> bool:
        """Note that Discord refused it, when this may be why it closed the connection."""
        if not self.asks or not _intents_refused(error):
            return False
        self._no = True
        return True

    def differs(self, needed: bool) -> bool:
        """Say whether the connection has to be made anew, now that it is needed or not."""
        return needed != self._needed


async def _ran(bot: Bot, token: str, wants: Wants) -> bool:
    """Run a bot until it ends; True when it has to be started again with other intents."""
    async with bot:
        running = asyncio.create_task(bot.start(token), name="discord-connection")
        other = asyncio.create_task(bot.community.until(wants.differs), name="discord-intents")
        try:
            await asyncio.wait({running, other}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                await running
                return False
            return True
        finally:
            for task in (running, other):
                task.cancel()
            await asyncio.gather(running, other, return_exceptions=True)


@asynccontextmanager
async def beside(app: "App", jarvis: "Jarvis", pace: Pace | None = None) -> AsyncIterator[None]:
    """Run the bot while the block runs; whatever it meets with, the block goes on."""
    task = asyncio.create_task(_quietly(app, jarvis, pace), name="discord")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _token(settings: DiscordSettings) -> str:
    token = settings.token.get_secret_value().strip()
    if not token:
        raise InvalidInput(
            "There is no bot token", hint="Set JARVIS_DISCORD_TOKEN; see the manual, “Discord”."
        )
    return token


async def _quietly(app: "App", jarvis: "Jarvis", pace: Pace | None) -> None:
    try:
        await keep(app, jarvis, pace)
    except NebulaError as error:
        log.error("discord_off", why=str(error), next_step=error.hint)
    except Exception:
        # The outermost handler of a door: the server goes on without it.
        log.exception("discord_crashed")


def _intents_refused(error: BaseException) -> bool:
    code = error.code if isinstance(error, discord.ConnectionClosed) else None
    return isinstance(error, discord.PrivilegedIntentsRequired) or code == _BAD_INTENTS


def _refusal(error: BaseException) -> NebulaError | None:
    """Return what an operator has to put right, None for what passes by itself."""
    code = error.code if isinstance(error, discord.ConnectionClosed) else None
    if isinstance(error, discord.LoginFailure) or code == _BAD_TOKEN:
        return NotAuthenticated(
            "Discord refuses the bot's token",
            hint="Make a new one in the developer portal and set JARVIS_DISCORD_TOKEN.",
        )
    if _intents_refused(error):
        return InvalidInput(
            "The bot may not read what messages say",
            hint="Switch on “Message Content Intent” for it in Discord's developer portal.",
        )
    return None
