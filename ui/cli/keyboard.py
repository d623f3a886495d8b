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
        self._reading: asyncio.Future[str | None] | None = None

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

    async def line(self, prompt: str, unless: "asyncio.Future[Any] | None" = None) -> str | None:
        """Return the next line; None at the end of the input, after Ctrl-C, or once `unless` is done.

        A read cannot be taken back: what is typed after `unless` answers the next call.
        """
        typed = self._reading
        if typed is None:
            typed = self._reading = self._read(prompt)
        elif sys.stdin.isatty():
            sys.stdout.write(prompt)
            sys.stdout.flush()
        left = asyncio.ensure_future(self._left.wait())
        waiting: set[asyncio.Future[Any]] = {typed, left}
        try:
            await asyncio.wait(
                waiting | ({unless} if unless else set()), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            left.cancel()
        if not typed.done():
            return None
        self._reading = None
        return typed.result()

    def _read(self, prompt: str) -> "asyncio.Future[str | None]":
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
        return typed

    def _stop(self) -> None:
        if self._on_stop is not None:
            self._on_stop()
        else:
            self._left.set()
