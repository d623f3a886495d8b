"""R2: server-sent events with Last-Event-ID over 1,000 cuts and restarts of the server.

Run: python -m benchmarks.r2

A publisher commits events to PostgreSQL without pause. Two readers follow over raw sockets, one a
single stream, one two streams at once; each line is dropped after a random number of bytes, in the
middle of a frame as often as not, and taken up with the last id that arrived whole. Now and then
the server is killed with SIGKILL and started again. In the end every number must have come once.
There is no peer: the goal is absolute, 0 gaps and 0 repeats.
"""

import asyncio
import logging
import multiprocessing
import random
import signal
import socket
import tempfile
import time
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

import structlog
import uvicorn

import graphs.jarvis.service  # noqa: F401 - imported before forking, so that a restart is quick
from api.server import create_server
from benchmarks.table import show
from nebula.auth.principal import Role
from nebula.auth.service import Auth
from nebula.db.embedded import EmbeddedPostgres
from nebula.db.engine import Database
from nebula.db.migrate import migrate
from nebula.errors import NebulaError
from nebula.events.bus import Events
from nebula.settings import Settings
from tests.fakes.sse import CutReader

CUTS = 1000
KILLS = 20
_STREAMS = ("r2.a", "r2.b")


class Server:
    """The product's server in a child process that is killed without warning."""

    def __init__(self, settings: Settings) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._settings = settings
        self._process: BaseProcess | None = None
        self.down_seconds = 0.0

    def start(self) -> None:
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=_serve, args=(self._settings, self.port))
        self._process.start()

    def kill(self) -> None:
        assert self._process is not None and self._process.pid is not None
        self._process.kill()
        self._process.join()

    async def until_ready(self) -> None:
        begun = time.monotonic()
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = await reader.read(64)
                writer.transport.abort()
                if b" 200 " in answer:
                    break
            await asyncio.sleep(0.05)
        self.down_seconds += time.monotonic() - begun


def _serve(settings: Settings, port: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    uvicorn.run(create_server(settings), host="127.0.0.1", port=port, log_level="critical")


async def publish(url: str, stop: asyncio.Event) -> dict[str, int]:
    """Commit events, alone and in bursts, until told to stop; return the last numbers."""
    dice, last = random.Random(1), dict.fromkeys(_STREAMS, 0)
    async with Database(url) as db, Events(db) as events:
        while not stop.is_set():
            with suppress(NebulaError):
                async with db.session() as session:
                    for _ in range(dice.choice((1, 1, 1, 5, 40))):
                        stream = dice.choice(_STREAMS)
                        data = {"n": last[stream] + 1, "text": "x" * dice.randrange(300)}
                        last[stream] = await events.publish(stream, "n", data, session=session)
            await asyncio.sleep(dice.random() * 0.02)
    return last


async def follow(reader: CutReader, server: Server, cuts: list[int], most: int) -> None:
    """Be cut until the count of all readers is reached."""
    dice = random.Random(reader.path)
    while cuts[0] < most:
        if await reader.read(
            server.url, dice.choice((0, 700, 2_000, 20_000)) + dice.randrange(900)
        ):
            cuts[0] += 1
        else:
            await asyncio.sleep(0.05)  # the server is down


async def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with (
        tempfile.TemporaryDirectory(prefix="nebula-r2-") as home,
        EmbeddedPostgres(Path(home)) as pg,
    ):
        await migrate(pg.url)
        settings = Settings(
            _env_file=None,
            home=Path(home),
            database_url=pg.url,
            ollama_host="http://127.0.0.1:9",
            warm_start=False,
            workers=0,
        )
        async with Database(pg.url) as db:
            auth = Auth(db, settings)
            user = await auth.people.create("reader", Role.VIEWER)
            key = (await auth.keys.create(user.id, "r2", role=Role.VIEWER)).key
        await _run(settings, pg.url, key)


async def _run(settings: Settings, url: str, key: str) -> None:
    server, stop, cuts = Server(settings), asyncio.Event(), [0]
    one, two = (
        f"/api/events?stream={_STREAMS[0]}",
        f"/api/events?stream={'&stream='.join(_STREAMS)}",
    )
    readers = [CutReader(one, key), CutReader(two, key)]
    begun = time.monotonic()
    server.start()
    await server.until_ready()
    server.down_seconds = 0.0
    publishing = asyncio.create_task(publish(url, stop))
    following = [asyncio.create_task(follow(r, server, cuts, CUTS)) for r in readers]
    for kill in range(1, KILLS + 1):
        while cuts[0] < kill * CUTS // (KILLS + 1):
            await asyncio.sleep(0.02)
        server.kill()
        server.start()
        await server.until_ready()
    await asyncio.gather(*following)
    stop.set()
    last = await publishing
    wanted = [last[_STREAMS[0]], sum(last.values())]
    for reader, count in zip(readers, wanted, strict=True):
        while len(reader.seen) < count:
            if not await reader.read(server.url, 10**6, seconds=2):
                break
    server.kill()
    rows = []
    for name, reader, count in zip(("one stream", "two streams"), readers, wanted, strict=True):
        gaps, repeats = reader.gaps_and_repeats()
        gaps += count - len({(s, n) for s, n, _ in reader.seen}) - gaps
        wrong = sum(data["n"] != seq for _, seq, data in reader.seen)
        rows.append(
            [name, f"{count:,}", f"{len(reader.seen):,}", str(gaps), str(repeats), str(wrong)]
        )
    print(show(["reader", "published", "received", "gaps", "repeats", "wrong"], rows))
    took = time.monotonic() - begun
    print(
        f"\n{cuts[0]} cuts, {KILLS} kills of the server ({server.down_seconds:.0f} s down), {took:.0f} s."
    )
    print("Goal: 0 gaps, 0 repeats.")


if __name__ == "__main__":
    asyncio.run(main())
