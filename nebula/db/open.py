"""Opens the database the settings name: their own server, or the embedded one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from nebula.db.embedded import EmbeddedPostgres
from nebula.db.engine import Database
from nebula.db.migrate import migrate
from nebula.errors import NebulaError
from nebula.settings import Settings

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 2.0


@asynccontextmanager
async def database_url(settings: Settings) -> AsyncIterator[str]:
    """Give the database's address, with the embedded server running behind it if there is none."""
    if settings.database_url:
        yield settings.database_url
        return
    server = EmbeddedPostgres(settings.home)
    url = await asyncio.to_thread(server.start)
    keeping = asyncio.create_task(_kept_running(server), name="database")
    try:
        yield url
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
    async with database_url(settings) as url:
        await migrate(url)
        async with Database(url, application_name=application) as database:
            yield database
