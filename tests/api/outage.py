"""A database that can be cut off: a proxy in front of the real one's socket."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from sqlalchemy import make_url


class Outage:
    """Passes bytes on, until told to refuse."""

    def __init__(self, real: Path, folder: Path) -> None:
        self._real = real
        self._shown = folder / real.name
        self._open: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def begin(self) -> None:
        """Refuse new connections and cut the present ones."""
        assert self._server is not None
        self._server.close()
        self._shown.unlink(missing_ok=True)
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def end(self) -> None:
        """Let connections through (again)."""
        self._server = await asyncio.start_unix_server(self._accept, self._shown)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            there, back = await asyncio.open_unix_connection(self._real)
            try:
                await asyncio.gather(_copy(reader, back), _copy(there, writer))
            finally:
                back.close()
        except (asyncio.CancelledError, OSError):
            pass
        finally:
            writer.close()
            self._open.discard(task)


@asynccontextmanager
async def cuttable(url: str) -> AsyncIterator[tuple[Outage, str]]:
    """Yield the outage and the database's address behind it."""
    address = make_url(url)
    host, port = str(address.query["host"]), address.query.get("port", "5432")
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        outage = Outage(Path(host) / f".s.PGSQL.{port}", Path(folder))
        await outage.end()
        try:
            behind = address.update_query_dict({"host": folder})
            yield outage, behind.render_as_string(hide_password=False)
        finally:
            with suppress(OSError):
                await outage.begin()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
