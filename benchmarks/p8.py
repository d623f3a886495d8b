"""P8: server-sent events to 500 clients from one process: events delivered per second.

Run: python -m benchmarks.p8

Three processes: a server, one reader with 500 connections, and this one, which publishes. Ours is
the whole product: events are committed to PostgreSQL by this process, noticed by the server and
sent by `GET /api/events` with its rights and ids. Peers get their events from memory: raw asyncio
writes bytes encoded once to every connection, the other encodes each event for each client. The
rate is deliveries (events x clients) over the time from the first event to the last delivery.
Below it, how long one single event takes to the last of the 500.
"""

import asyncio
import json
import logging
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import structlog

from benchmarks.table import show

CLIENTS = 500
EVENTS = 1000
BURST = 10
ROUNDS = 3
SINGLE = 30
STREAM = "p8"
_DATA = {"fraction": 0.5, "step": 12, "steps": 24, "message": "Sampling", "eta_seconds": 9.5}

Publish = Callable[[int], Awaitable[None]]


# --- the reader ---------------------------------------------------------------------------------


class Reader(asyncio.Protocol):
    """Counts the frames of one connection."""

    def __init__(self, request: bytes, count: "Count") -> None:
        self._request, self._count, self._ended = request, count, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        frames = data.count(b"\n\n") + (self._ended and data.startswith(b"\n"))
        self._ended = data.endswith(b"\n") and not data.endswith(b"\n\n")
        if frames:
            self._count.add(frames)


class Count:
    """Frames that all connections received, and a way to wait for a number of them."""

    def __init__(self) -> None:
        self.frames, self._goal, self._reached = 0, 0, asyncio.Event()

    def add(self, frames: int) -> None:
        self.frames += frames
        if self.frames >= self._goal:
            self._reached.set()

    async def reach(self, goal: int) -> float:
        self._goal = goal
        self._reached.clear()
        if self.frames < goal:
            async with asyncio.timeout(120):
                await self._reached.wait()
        return time.monotonic()


def read(pipe: Connection, url: str, key: str) -> None:
    """Hold 500 connections; for each number received, tell when so many frames had come."""
    asyncio.run(_read(pipe, url, key))


async def _read(pipe: Connection, url: str, key: str) -> None:
    address = urlsplit(url)
    request = (
        f"GET /api/events?stream={STREAM} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Authorization: Bearer {key}\r\n\r\n"
    ).encode()
    loop, count = asyncio.get_running_loop(), Count()
    assert address.hostname is not None and address.port is not None
    for _ in range(CLIENTS):
        await loop.create_connection(lambda: Reader(request, count), address.hostname, address.port)
    # Every connection proves that it is open by a first event.
    pipe.send("connected")
    while (goal := await asyncio.to_thread(pipe.recv)) is not None:
        pipe.send(await count.reach(goal))


@contextmanager
def reader(url: str, key: str) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=read, args=(theirs, url, key), daemon=True)
    process.start()
    try:
        assert ours.recv() == "connected"
        yield ours
        ours.send(None)
    finally:
        process.join(10)
        process.kill()


# --- the peers ----------------------------------------------------------------------------------


async def peer(kind: str) -> None:
    """Serve frames to whoever connects; each number read from stdin asks for so many events."""
    writers: list[asyncio.StreamWriter] = []

    async def connected(lines: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await lines.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        writers.append(writer)

    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    taken.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(connected, sock=taken, backlog=CLIENTS)
    print(json.dumps({"url": f"http://127.0.0.1:{taken.getsockname()[1]}"}), flush=True)
    asked, seq = await _stdin(), 0
    async with server:
        while line := await asked.readline():
            for _ in range(int(line)):
                seq += 1
                shared = _frame(seq) if kind == "raw" else b""
                for writer in writers:
                    writer.write(shared or _frame(seq))
                for writer in writers:
                    await writer.drain()


async def _stdin() -> asyncio.StreamReader:
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    return lines


def _frame(seq: int) -> bytes:
    body = {
        "stream": STREAM,
        "seq": seq,
        "kind": "job.progress",
        "data": _DATA,
        "at": "2026-01-01T00:00:00.000000+00:00",
    }
    data = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return f"id: {STREAM}={seq}\nevent: job.progress\ndata: {data}\n\n".encode()


@asynccontextmanager
async def peer_server(kind: str) -> AsyncIterator[tuple[str, str, Publish, int]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.p8", kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    stdin = process.stdin

    async def publish(events: int) -> None:
        stdin.write(f"{events}\n")
        stdin.flush()

    try:
        yield json.loads(process.stdout.readline())["url"], "none", publish, process.pid
    finally:
        process.kill()
        process.wait()


# --- ours ---------------------------------------------------------------------------------------


@asynccontextmanager
async def our_server() -> AsyncIterator[tuple[str, str, Publish, int]]:
    from nebula.db.embedded import EmbeddedPostgres
    from nebula.db.engine import Database
    from nebula.db.migrate import migrate
    from nebula.events.bus import Events

    with (
        tempfile.TemporaryDirectory(prefix="nebula-p8-") as home,
        EmbeddedPostgres(Path(home)) as postgres,
    ):
        await migrate(postgres.url)
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load_servers", "server", home, "http://x.test"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "DATABASE_URL": postgres.url, "JARVIS_WORKERS": "0"},
        )
        assert process.stdout is not None
        try:
            said = json.loads(process.stdout.readline())
            async with Database(postgres.url) as db:
                yield said["url"], said["key"], _publisher(db, Events(db)), process.pid
        finally:
            process.terminate()
            process.wait()


def _publisher(db: "Database", events: "Events") -> Publish:  # type: ignore[name-defined]  # noqa: F821
    async def publish(count: int) -> None:
        for start in range(0, count, BURST):
            async with db.session() as session:
                for _ in range(min(BURST, count - start)):
                    await events.publish(STREAM, "job.progress", _DATA, session=session)

    return publish


# --- measuring ----------------------------------------------------------------------------------


async def measure(
    server: Callable[[], "asynccontextmanager[tuple[str, str, Publish, int]]"],  # type: ignore[valid-type]
) -> tuple[float, float, float]:
    """Return deliveries a second, ms of one event to all, and CPU microseconds a delivery."""
    async with server() as (url, key, publish, pid):  # type: ignore[attr-defined]
        with reader(url, key) as clients:
            sent = 0

            async def deliver(events: int) -> float:
                nonlocal sent
                sent += events
                begun = time.monotonic()
                clients.send(sent * CLIENTS)
                await publish(events)
                done: float = await asyncio.to_thread(clients.recv)
                return done - begun

            await asyncio.sleep(1)  # the last connections are being accepted
            await deliver(50)
            singles = []
            for _ in range(SINGLE):
                singles.append(await deliver(1))
                await asyncio.sleep(0.05)
            process = psutil.Process(pid)
            before = sum(process.cpu_times()[:2])
            took = [await deliver(EVENTS) for _ in range(ROUNDS)]
            cpu = sum(process.cpu_times()[:2]) - before
    total = EVENTS * CLIENTS
    rate = total / statistics.median(took)
    return rate, statistics.median(singles) * 1e3, cpu * 1e6 / (total * ROUNDS)


async def compare() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    raw = await measure(lambda: peer_server("raw"))
    each = await measure(lambda: peer_server("each"))
    ours = await measure(our_server)
    rows = [
        [what, f"{rate:,.0f}", f"{rate / raw[0]:.2f}", f"{one:.1f}", f"{cpu:.2f}"]
        for what, (rate, one, cpu) in (
            ("raw asyncio, encoded once", raw),
            ("encode per client", each),
            ("ours, from PostgreSQL", ours),
        )
    ]
    columns = ["", "events/s", "x raw", "one event to all, ms", "CPU us/event"]
    print(show(columns, rows))
    print(f"\n{CLIENTS} clients, {EVENTS} events in transactions of {BURST}. Goal: >= 0.7 x raw.")


if __name__ == "__main__":
    asyncio.run(peer(sys.argv[1]) if len(sys.argv) > 1 else compare())
