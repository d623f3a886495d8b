"""Hears the ledger's notifications: one listening connection per process, made when first needed.

A notification is a hint that may be lost: whoever waits looks again by itself now and then.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
import structlog

from nebula.gpu.leases.placing import CHANNEL

_PAUSES = (0.1, 0.5, 1.0, 2.0, 5.0)
_IDLE_SECONDS = 30.0

log = structlog.get_logger(__name__)


class Signals:
    """Wakes those who wait for a placement, a load, a tick or a wish to yield."""

    def __init__(self, conninfo: str) -> None:
        """Take the database's address; nothing connects before somebody waits."""
        self._conninfo = conninfo
        self._waiting: dict[str, list[asyncio.Event]] = defaultdict(list)
        self._listener: asyncio.Task[None] | None = None
        self._heard = asyncio.Event()

    async def listening(self) -> None:
        """Return once notifications are heard, or the database proved to be away."""
        if self._listener is None or self._listener.done():
            self._heard.clear()
            self._listener = asyncio.create_task(self._listen(), name="gpu-signals")
        if not self._heard.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    await self._heard.wait()

    @contextmanager
    def expect(self, *payloads: str) -> Iterator[asyncio.Event]:
        """Give an event that is set when one of the payloads is heard."""
        event = asyncio.Event()
        for payload in payloads:
            self._waiting[payload].append(event)
        try:
            yield event
        finally:
            for payload in payloads:
                self._waiting[payload].remove(event)
                if not self._waiting[payload]:
                    del self._waiting[payload]

    async def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
            self._listener = None

    async def _listen(self) -> None:
        failures = 0
        while True:
            try:
                async with await self._connect() as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    failures = 0
                    self._heard.set()
                    self._wake_all()  # what was said meanwhile was not heard
                    while True:
                        async for notice in connection.notifies(timeout=_IDLE_SECONDS):
                            self._wake(notice.payload)
                        await connection.execute("SELECT 1")
            except psycopg.Error as error:
                log.warning("gpu_signals_lost", reason=str(error).strip(), failures=failures)
                self._heard.set()
            await asyncio.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
            failures += 1

    async def _connect(self) -> "psycopg.AsyncConnection[tuple[object, ...]]":
        return await psycopg.AsyncConnection.connect(
            self._conninfo,
            autocommit=True,
            connect_timeout=5,
            application_name="nebula-gpu",
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
        )

    def _wake(self, payload: str) -> None:
        for event in self._waiting.get(payload, ()):
            event.set()

    def _wake_all(self) -> None:
        for events in self._waiting.values():
            for event in events:
                event.set()


async def wait(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event for some time; say whether it came, and clear it."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    event.clear()
    return True
