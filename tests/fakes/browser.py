"""A real Chromium for the browser tests, in a world where every other host is silent."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Browser, sync_playwright

EXECUTABLE = os.environ.get("CHROMIUM", "/usr/bin/chromium")
_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Outside:
    """Every host but loopback: it accepts connections, keeps them, and never answers."""

    port: int
    calls: list[bytes] = field(default_factory=list)
    """The first bytes of every connection somebody tried to make to it."""
    _rang: threading.Event = field(default_factory=threading.Event)

    def heard_of(self, host: str) -> bool:
        """Say whether somebody wanted this host; names are readable in HTTP and in TLS.

        Chromium itself looks for updates whatever its flags say, so "nobody called" is too much.
        """
        return any(host.encode() in call for call in self.calls)

    def hears(self, host: str, seconds: float = 10.0) -> bool:
        """Wait until somebody wants this host."""
        until = time.monotonic() + seconds
        while not self.heard_of(host) and time.monotonic() < until:
            self._rang.wait(0.2)
            self._rang.clear()
        return self.heard_of(host)


@contextmanager
def silent_outside() -> Iterator[Outside]:
    """Listen as the whole outside world, like a content network that is black-holed."""
    listener = socket.create_server(("127.0.0.1", 0))
    outside = Outside(listener.getsockname()[1])
    kept: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            kept.append(connection)
            connection.settimeout(2)
            try:
                outside.calls.append(connection.recv(8192))
            except OSError:
                outside.calls.append(b"")
            outside._rang.set()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield outside
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
        for connection in kept:
            connection.close()


class Chromium:
    """A running Chromium; its pages may be used inside `with chromium.awake():` only.

    Playwright's synchronous interface leaves its event loop marked as running in this thread,
    which would keep every later asynchronous test of the same worker from starting one. So the
    mark is set while a browser test runs, and taken away in between.
    """

    def __init__(self, outside: Outside) -> None:
        """Start the browser; names other than loopback lead to the silent outside."""
        self._playwright = sync_playwright().start()
        self._loop = asyncio.get_running_loop()
        rules = f"MAP * 127.0.0.1:{outside.port}, EXCLUDE 127.0.0.1"
        self.browser: Browser = self._playwright.chromium.launch(
            executable_path=EXECUTABLE, args=[*_FLAGS, f"--host-resolver-rules={rules}"]
        )
        asyncio._set_running_loop(None)

    @contextmanager
    def awake(self) -> Iterator[Browser]:
        """Let the browser's pages be used."""
        asyncio._set_running_loop(self._loop)
        try:
            yield self.browser
        finally:
            asyncio._set_running_loop(None)

    def close(self) -> None:
        """Stop the browser."""
        with self.awake() as browser:
            browser.close()
            self._playwright.stop()
