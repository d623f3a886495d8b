"""A reader of server-sent events whose line is cut at any byte, and which takes up from there."""

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass
class CutReader:
    """Follows a path over raw sockets; `seen` holds each event's place and data, as they came."""

    path: str
    key: str
    last: str = ""
    seen: list[tuple[str, int, dict[str, Any]]] = field(default_factory=list)

    async def read(self, url: str, most_bytes: int, seconds: float = 5.0) -> int:
        """Connect, read at most so many bytes, and drop the line; return how many came.

        A frame whose end did not arrive is thrown away, as a browser does.
        """
        address = urlsplit(url)
        head = f"GET {self.path} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        head += f"Authorization: Bearer {self.key}\r\n"
        head += f"Last-Event-ID: {self.last}\r\n\r\n" if self.last else "\r\n"
        received = b""
        writer: asyncio.StreamWriter | None = None
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(seconds):
                reader, writer = await asyncio.open_connection(address.hostname, address.port)
                writer.write(head.encode())
                while len(received) < most_bytes:
                    chunk = await reader.read(most_bytes - len(received))
                    if not chunk:
                        break
                    received += chunk
        if writer is not None:
            writer.transport.abort()
        self._take(received)
        return len(received)

    def gaps_and_repeats(self) -> tuple[int, int]:
        """Return how many events of any stream are missing, and how many came again."""
        gaps = repeats = 0
        newest: dict[str, int] = {}
        for stream, seq, _ in self.seen:
            before = newest.get(stream, 0)
            if seq <= before:
                repeats += 1
            else:
                gaps += seq - before - 1
                newest[stream] = seq
        return gaps, repeats

    def _take(self, received: bytes) -> None:
        head, _, body = received.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            return
        *frames, _unfinished = _unchunked(body).split(b"\n\n")
        for frame in frames:
            lines = [line.partition(b": ") for line in frame.split(b"\n")]
            fields = {name: value for name, _, value in lines}
            if b"data" not in fields or fields.get(b"event") == b"error":
                continue
            self.last = fields[b"id"].decode()
            event = json.loads(fields[b"data"])
            self.seen.append((event["stream"], event["seq"], event["data"]))


def _unchunked(body: bytes) -> bytes:
    """Take the chunked coding off, up to where the line was cut."""
    plain = b""
    while body:
        size, found, rest = body.partition(b"\r\n")
        if not found:
            break
        length = int(size, 16)
        plain += rest[:length]
        body = rest[length + 2 :]
    return plain
