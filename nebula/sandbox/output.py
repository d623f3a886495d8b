"""Keeps what a job prints, within a bound, and passes its lines on."""

import asyncio
from collections.abc import Awaitable, Callable

OnLine = Callable[[str], Awaitable[None]]
_PIECE = 64 * 1024
_LONGEST_LINE = 4096


class Kept:
    """The beginning and the end of a stream; what does not fit is cut from its middle."""

    def __init__(self, most: int) -> None:
        """Keep at most this many bytes."""
        self._head_size, self._tail_size = most - most // 2, most // 2
        self._head, self._tail = bytearray(), bytearray()
        self.cut = False

    def add(self, piece: bytes) -> None:
        """Take the next piece of the stream."""
        room = self._head_size - len(self._head)
        self._head += piece[:room]
        self._tail += piece[room:]
        if (surplus := len(self._tail) - self._tail_size) > 0:
            self.cut = True
            del self._tail[:surplus]

    def all(self) -> bytes:
        """Return what was kept."""
        return bytes(self._head + self._tail)


async def keep(stream: asyncio.StreamReader, kept: Kept, on_line: OnLine | None) -> None:
    """Read a stream to its end, and hand on its lines as long as the bound is not reached."""
    rest = b""
    while piece := await stream.read(_PIECE):
        kept.add(piece)
        if on_line is None or kept.cut:
            continue
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            await on_line(_shown(line))
        if len(rest) > _LONGEST_LINE:
            await on_line(_shown(rest))
            rest = b""
    if on_line is not None and rest:
        await on_line(_shown(rest))


def _shown(line: bytes) -> str:
    return line[:_LONGEST_LINE].decode("utf-8", "replace").rstrip("\r")
