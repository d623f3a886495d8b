"""A file server as the delivery networks of model hubs are: byte ranges, and ways to misbehave."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

CHUNK = 16 * 1024


@dataclass
class Faults:
    """What goes wrong, each so many times; then all is well."""

    drops: int = 0
    """Cut the connection after `drop_after` bytes of the answer."""
    drop_after: int = 40_000
    stalls: int = 0
    """Say nothing more after `drop_after` bytes."""
    statuses: list[int] = field(default_factory=list)
    """Answer with these first."""
    retry_after: str | None = None
    no_ranges: bool = False
    """Answer 200 with everything, whatever part was asked for."""
    wrong_range: int = 0
    """Send another part than was asked for."""
    gone_range: int = 0
    """Answer 416 to any part."""
    corrupt: bool = False
    """Change the last byte."""
    longer: int = 0
    """Send so many bytes more than there are, without saying the length."""
    page: bool = False
    """Answer with a web page and 200."""
    packed: bool = False


@dataclass
class FileServer:
    """Serves bytes; counts what was asked and what went out."""

    faults: Faults = field(default_factory=Faults)
    ranges: list[str | None] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    sent: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client leaves a stalled answer."""
    stalled: asyncio.Event = field(default_factory=asyncio.Event)
    hold: asyncio.Event | None = None
    """When set, answers wait for it after `drop_after` bytes."""

    def answer(self, request: Request, content: bytes) -> Response:
        """Answer one request for a file."""
        faults = self.faults
        asked = request.headers.get("range")
        self.ranges.append(asked)
        self.authorizations.append(request.headers.get("authorization"))
        if faults.statuses:
            headers = {"Retry-After": faults.retry_after} if faults.retry_after else None
            return Response("no", faults.statuses.pop(0), headers)
        if faults.page:
            return Response("<html>Sign in</html>", media_type="text/html; charset=utf-8")
        if faults.corrupt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        start, stop = 0, len(content)
        if asked and not faults.no_ranges:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, stop = int(first), int(last) + 1 if last else len(content)
            if faults.gone_range or start >= len(content):
                faults.gone_range = max(0, faults.gone_range - 1)
                return Response(
                    status_code=416, headers={"Content-Range": f"bytes */{len(content)}"}
                )
            if faults.wrong_range:
                faults.wrong_range -= 1
                start = max(0, start - 7)
        return self._send(content, start, stop, partial=bool(asked) and not faults.no_ranges)

    def _send(self, content: bytes, start: int, stop: int, *, partial: bool) -> Response:
        rest = content[start:stop]
        headers = {"Accept-Ranges": "bytes", "ETag": '"x"'}
        if self.faults.longer:
            rest += bytes(self.faults.longer)
        else:
            headers["Content-Length"] = str(len(rest))
        if self.faults.packed:
            headers["Content-Encoding"] = "gzip"
        if partial:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        return StreamingResponse(
            self._pieces(rest),
            206 if partial else 200,
            headers,
            media_type="application/octet-stream",
        )

    async def _pieces(self, content: bytes) -> AsyncIterator[bytes]:
        faults = self.faults
        sent = 0
        try:
            for at in range(0, len(content), CHUNK):
                if sent >= faults.drop_after:
                    await self._misbehave()
                piece = content[at : at + CHUNK]
                yield piece
                sent += len(piece)
                self.sent += len(piece)
        except asyncio.CancelledError:
            self.left.set()
            raise

    async def _misbehave(self) -> None:
        if self.faults.drops:
            self.faults.drops -= 1
            raise ConnectionResetError("the fake cuts the connection")
        if self.faults.stalls:
            self.faults.stalls -= 1
            self.stalled.set()
            await asyncio.Event().wait()
        if self.hold is not None:
            self.stalled.set()
            await self.hold.wait()
