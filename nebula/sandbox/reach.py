"""The one place outside that a job may talk to: streams that Jarvis opens in its stead.

Such a job has no network. It finds a socket at `SOCKET`; what it writes there goes where `Opens`
leads and nowhere else, whatever has become of the program. `inside/reach.pl` joins programs to it.
"""

import asyncio
import shutil
import tempfile
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import structlog

from nebula.errors import NebulaError

Opens = Callable[[], AbstractAsyncContextManager[tuple[StreamReader, StreamWriter]]]
"""Opens a stream to that place, and closes it: once for each connection that the job makes."""

FOLDER = "/run/reach"
SOCKET = f"{FOLDER}/out"
PROXY_PORT = 1080
"""On the job's own loopback, where `reach.pl proxy` speaks SOCKS to programs."""
JOIN = "/run/sandbox/reach.pl"

_AT_ONCE = 8
_CHUNK = 64 * 1024
_log = structlog.get_logger(__name__)


@asynccontextmanager
async def served(opens: Opens) -> AsyncIterator[Path]:
    """Listen for one job, in a folder to be shown to it at `FOLDER`."""
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="jarvis-reach-"))
    relays: set[asyncio.Task[None]] = set()

    def accept(reader: StreamReader, writer: StreamWriter) -> None:
        if len(relays) >= _AT_ONCE:  # descriptors of ours: a job must not use them up
            writer.close()
            return
        relay = asyncio.create_task(_relayed(opens, reader, writer))
        relays.add(relay)
        relay.add_done_callback(relays.discard)

    try:
        server = await asyncio.start_unix_server(accept, folder / "out")
        try:
            yield folder
        finally:
            server.close()
            for relay in relays:
                relay.cancel()
            await asyncio.gather(*relays, return_exceptions=True)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, True)


async def _relayed(opens: Opens, reader: StreamReader, writer: StreamWriter) -> None:
    try:
        async with opens() as (outside, beyond), asyncio.TaskGroup() as both:
            both.create_task(_copied(reader, beyond))
            both.create_task(_copied(outside, writer))
    except* (OSError, NebulaError) as errors:
        _log.debug("a job's stream broke off", error=str(errors.exceptions[0]))
    finally:
        writer.close()


async def _copied(source: StreamReader, sink: StreamWriter) -> None:
    while chunk := await source.read(_CHUNK):
        sink.write(chunk)
        await sink.drain()
    with suppress(OSError):  # the other side may have closed it already
        sink.write_eof()
