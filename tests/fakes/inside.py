"""A network for address attacks: one public web server, and canaries wherever nothing may go."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpcore
import httpx

from benchmarks.corpora import Address
from nebula.errors import NebulaError
from nebula.http import SafeFetch, ssl_context

PUBLIC = "93.184.215.14"
OURS = "93.184.215.99"
"""A public address of the machine that fetches."""
_WEB = {PUBLIC, "93.184.215.15"}
SECRET = b"what only the inside knows"


@dataclass
class Inside:
    """Real listeners: whoever connects to anything but the public server rings a canary."""

    web_port: int = 0
    canary_ports: dict[int, int] = field(default_factory=dict)
    """By IP version: one on 127.0.0.1, one on ::1 where there is IPv6."""
    rung: int = 0
    served: int = 0
    _form: Address = field(default_factory=lambda: Address("", ""))
    _asked: dict[str, int] = field(default_factory=dict)
    _hops: list[str] = field(default_factory=list)

    async def attack(self, fetch: SafeFetch, form: Address) -> tuple[int, str]:
        """Fetch a form; return how many canaries rang, and what the fetcher said."""
        self._form, self._asked = form, {}
        before = self.rung
        said = []
        for fetching in (self._get, self._stream):
            self._hops = list(form.redirects)
            self._asked = {}
            try:
                said.append("fetched" if SECRET not in await fetching(fetch) else "LEAKED")
            except NebulaError as error:
                said.append(error.code)
        return self.rung - before, " ".join(dict.fromkeys(said))

    def fetcher(self) -> SafeFetch:
        """Make the product's own fetcher over this network."""
        context = ssl_context()
        transport = httpx.AsyncHTTPTransport(verify=context, trust_env=False)
        transport._pool = httpcore.AsyncConnectionPool(
            ssl_context=context, max_keepalive_connections=0, network_backend=_Wires(self)
        )
        return SafeFetch(
            resolve=self._resolve,
            transport=transport,
            own=lambda: frozenset({ipaddress.ip_address(OURS)}),
        )

    async def _get(self, fetch: SafeFetch) -> bytes:
        return (await fetch.get(self._form.url, timeout=5)).body

    async def _stream(self, fetch: SafeFetch) -> bytes:
        async with fetch.stream(self._form.url, credentials={"Authorization": "x"}) as answer:
            return b"".join([piece async for piece in answer.pieces()])

    async def _resolve(self, host: str, _port: int) -> Sequence[str]:
        answers = self._form.resolves.get(host)
        if answers is None:
            return [PUBLIC]
        at = self._asked.get(host, 0)
        self._asked[host] = at + 1
        return answers[min(at, len(answers) - 1)]

    async def web(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve as the public web: the form's redirects, then a page."""
        self.served += 1
        await reader.readuntil(b"\r\n\r\n")
        if self._hops:
            location = self._hops.pop(0).encode("utf-8")
            writer.write(b"HTTP/1.1 %d Moved\r\nLocation: " % self._form.status + location)
            writer.write(b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfine")
        await writer.drain()
        writer.close()

    async def canary(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Ring, and give the secret away."""
        self.rung += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(SECRET), SECRET))
        await writer.drain()
        writer.close()


class _Wires(httpcore.AsyncNetworkBackend):
    """Connects for real: the public addresses to the web server, all others to a canary."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside
        self._real = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        if host in _WEB:
            return await self._real.connect_tcp("127.0.0.1", self._inside.web_port, timeout)
        six = ":" in host and 6 in self._inside.canary_ports
        address = "::1" if six else "127.0.0.1"
        return await self._real.connect_tcp(
            address, self._inside.canary_ports[6 if six else 4], timeout
        )


@asynccontextmanager
async def inside() -> AsyncIterator[Inside]:
    """Run the web server and the canaries until the block ends."""
    made = Inside()
    servers = [await asyncio.start_server(made.web, "127.0.0.1", 0)]
    made.web_port = servers[0].sockets[0].getsockname()[1]
    for version, address in ((4, "127.0.0.1"), (6, "::1")):
        try:
            server = await asyncio.start_server(made.canary, address, 0)
        except OSError:
            continue  # a machine without IPv6
        servers.append(server)
        made.canary_ports[version] = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        for server in servers:
            server.close()
