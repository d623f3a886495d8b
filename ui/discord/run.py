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
from tools.discord.servers import Servers
from tools.discord.settings import DiscordSettings
from ui.discord.client import Bot
from ui.discord.drawing import Pace

if TYPE_CHECKING:
    from graphs.jarvis.service import Jarvis
    from nebula.app import App

log = structlog.get_logger(__name__)

_LONGEST_WAIT = 300.0
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
    while True:
        try:
            async with Bot(app, jarvis, pace) as bot:
                await bot.start(token)
            return
        except asyncio.CancelledError:
            await asyncio.shield(servers.note_bot(state="off", problem=""))
            raise
        except _AWAY as error:
            refused = _refusal(error)
            if refused is not None:
                await servers.note_bot(state="off", problem=f"{refused} {refused.hint}")
                raise refused from error
            log.warning("discord_away", why=str(error), again_in=wait)
            await servers.note_bot(state="away", problem=str(error)[:200])
        await asyncio.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT)


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


def _refusal(error: BaseException) -> NebulaError | None:
    """Return what an operator has to put right, None for what passes by itself."""
    code = error.code if isinstance(error, discord.ConnectionClosed) else None
    if isinstance(error, discord.LoginFailure) or code == _BAD_TOKEN:
        return NotAuthenticated(
            "Discord refuses the bot's token",
            hint="Make a new one in the developer portal and set JARVIS_DISCORD_TOKEN.",
        )
    if isinstance(error, discord.PrivilegedIntentsRequired) or code == _BAD_INTENTS:
        return InvalidInput(
            "The bot may not read what messages say",
            hint="Switch on “Message Content Intent” for it in Discord's developer portal.",
        )
    return None
