"""Opens the database the settings name: their own server, or the embedded one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nebula.db.embedded import EmbeddedPostgres
from nebula.db.engine import Database
from nebula.db.migrate import migrate
from nebula.settings import Settings


@asynccontextmanager
async def database_url(settings: Settings) -> AsyncIterator[str]:
    """Give the database's address, with the embedded server running behind it if there is none."""
    if settings.database_url:
        yield settings.database_url
        return
    server = EmbeddedPostgres(settings.home)
    url = await asyncio.to_thread(server.start)
    try:
        yield url
    finally:
        await asyncio.to_thread(server.stop)


@asynccontextmanager
async def open_database(
    settings: Settings, *, application: str = "nebula"
) -> AsyncIterator[Database]:
    """Start what is needed, migrate, and give the open database."""
    async with database_url(settings) as url:
        await migrate(url)
        async with Database(url, application_name=application) as database:
            yield database
