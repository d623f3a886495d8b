"""Opens the database the settings name: their own server, or the embedded one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from nebula.db.embedded import EmbeddedPostgres
from nebula.db.engine import Database
from nebula.db.migrate import migrate
from nebula.errors import NebulaError
from nebula.settings import Settings

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class Addresses:
    """One database, as two roles: the program works as `app`, and `owner` migrates."""

    app: str
    owner: str


@asynccontextmanager
async def database_addresses(settings: Settings) -> AsyncIterator[Addresses]:
    """Give the database's addresses, with the embedded server running behind them if need be."""
    if settings.database_url:
        owner = settings.database_owner_url or settings.database_url
        yield Addresses(app=settings.database_url, owner=owner)
        return
    server = EmbeddedPostgres(settings.home)
    await asyncio.to_thread(server.start)
    keeping = asyncio.create_task(_kept_running(server), name="database")
    try:
        yield Addresses(app=server.app_url, owner=server.url)
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        await asyncio.to_thread(server.stop)


async def _kept_running(server: EmbeddedPostgres) -> None:
    """Start the server again when it died: nobody else looks after it."""
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        if await asyncio.to_thread(server.running):
            continue
        try:
            await asyncio.to_thread(server.start)
        except NebulaError as error:
            log.error("database_not_restarted", error=str(error))
        else:
            log.warning("database_restarted")


@asynccontextmanager
async def open_database(
    settings: Settings, *, application: str = "nebula"
) -> AsyncIterator[Database]:
    """Start what is needed, migrate, and give the open database."""
    async with database_addresses(settings) as addresses:
        await migrate(addresses.owner, app=addresses.app)
        async with Database(addresses.app, application_name=application) as database:
            yield database
