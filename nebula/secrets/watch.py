"""Keeps what this process hides up to date with everything that is sealed in the database.

A value may be used in one process and come back as text in another, so that every process opens
every sealed value when it starts, and what is new once a second. Nobody has to remember to tell.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import text

from nebula.errors import NebulaError
from nebula.secrets.redact import LIVE, secrets_in
from nebula.secrets.vault import Vault

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

    from nebula.db.bare import Bare
    from nebula.db.engine import Database
    from nebula.settings import Settings

EVERY_SECONDS: Final = 1.0

_COLUMNS = text(
    """
    SELECT relname, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND NOT attisdropped
      AND atttypid = 'bytea'::regtype AND (attname = 'sealed' OR attname LIKE '%\\_sealed')
    ORDER BY 1, 2
    """
)

_log = structlog.get_logger(__name__)


async def sealed_columns(bare: "Bare") -> list[tuple[str, str]]:
    """Return table and name of every column that holds what a vault sealed."""
    return [(table, name) for table, name in await (await bare.execute(_COLUMNS)).fetchall()]


class Watch:
    """Everything that one App has opened."""

    def __init__(self, db: "Database", vault: Vault, settings: "Settings") -> None:
        """Take the database and what opens its sealed values."""
        self._db = db
        self._vault = vault
        self._opened: dict[bytes, str | None] = {}
        self._configured = secrets_in(settings)

    async def look(self) -> None:
        """Open what was sealed since the last look, and forget what is gone.

        Raises:
            NebulaError: when the database or the key's place is away.
        """
        async with self._db.bare() as bare:
            columns = await sealed_columns(bare)
            union = " UNION ALL ".join(f'SELECT "{c}" FROM "{t}"' for t, c in columns)  # noqa: S608
            rows = await (await bare.execute(text(union))).fetchall() if union else []
        sealed = {bytes(row[0]) for row in rows if row[0] is not None}
        new = [token for token in sealed if token not in self._opened]
        opened = await self._vault.open_each(new)
        if None in opened:
            _log.warning("secrets_not_opened", count=opened.count(None))
        for gone in self._opened.keys() - sealed:
            del self._opened[gone]
        self._opened.update(zip(new, opened, strict=True))
        self._tell()

    def _tell(self) -> None:
        LIVE.know(self, [*self._configured, *(v for v in self._opened.values() if v is not None)])

    def know(self, settings: "BaseSettings") -> None:
        """Hide the secrets of a feature's settings too."""
        self._configured += secrets_in(settings)
        self._tell()

    async def keep_looking(self, every_seconds: float = EVERY_SECONDS) -> None:
        """Look again and again; while the database is away, what is known stays known."""
        while True:
            await asyncio.sleep(every_seconds)
            with suppress(NebulaError):
                await self.look()


@asynccontextmanager
async def watching(db: "Database", vault: Vault, settings: "Settings") -> AsyncIterator[Watch]:
    """Hide every secret of an installation until the block ends.

    Raises:
        NebulaError: when the key's place does not answer: nothing runs with secrets unhidden.
    """
    watch = Watch(db, vault, settings)
    LIVE.know(watch, secrets_in(settings))
    try:
        await watch.look()
        task = asyncio.create_task(watch.keep_looking(), name="secrets-watch")
        try:
            yield watch
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    finally:
        LIVE.forget(watch)
