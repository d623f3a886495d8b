"""Reads lines and Ctrl-C beside a running event loop."""

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Keyboard:
    """The person's keyboard: lines, and Ctrl-C, which means what is going on right now."""

    def __init__(self) -> None:
        """Listen from `listening()` on."""
        self._on_stop: Callable[[], None] | None = None
        self._left: asyncio.Event = asyncio.Event()

    @contextmanager
    def listening(self) -> Iterator["Keyboard"]:
        """Take Ctrl-C while inside."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._stop)
        try:
            yield self
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    @contextmanager
    def stopping(self, on_stop: Callable[[], None]) -> Iterator[None]:
        """Call this on Ctrl-C while inside, instead of leaving."""
        self._on_stop = on_stop
        try:
            yield
        finally:
            self._on_stop = None

    async def line(self, prompt: str) -> str | None:
        """Return the next line; None at the end of the input and after Ctrl-C."""
        loop = asyncio.get_running_loop()
        typed: asyncio.Future[str | None] = loop.create_future()

        def read() -> None:
            try:
                said: str | None = input(prompt if sys.stdin.isatty() else "")
            except (EOFError, OSError):
                said = None
            if not loop.is_closed():
                loop.call_soon_threadsafe(hand_over, said)

        def hand_over(said: str | None) -> None:
            if not typed.done():
                typed.set_result(said)

        # A daemon: a thread that waits for a key must not keep the program from ending.
        threading.Thread(target=read, daemon=True, name="keyboard").start()
        left = asyncio.ensure_future(self._left.wait())
        waiting: set[asyncio.Future[Any]] = {typed, left}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return typed.result() if typed.done() else None
        finally:
            left.cancel()

    def _stop(self) -> None:
        if self._on_stop is not None:
            self._on_stop()
        else:
            self._left.set()
