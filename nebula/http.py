"""The program's HTTP clients: one for known addresses, one for addresses that a model chose."""

import asyncio
import functools
import socket
import ssl
import zlib
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Final, Self
from urllib.parse import urljoin

import httpx

from nebula.addresses import Address, Target, check_addresses, check_port, parse_target
from nebula.errors import (
    InvalidInput,
    NebulaError,
    PermissionDenied,
    TimedOut,
    TooLarge,
    UpstreamRejected,
    UpstreamUnavailable,
)
from nebula.http_client import HttpClient
from nebula.own_addresses import own_addresses

USER_AGENT: Final = "nebula-command/0.1"
MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CHUNK: Final = 64 * 1024

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


@functools.cache
def ssl_context() -> ssl.SSLContext:
    """Return the one TLS context; making it takes some 20 ms."""
    return httpx.create_ssl_context()


def make_http(transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """Make the client for addresses from settings and the service map.

    Proxies of the environment are honoured, but never for loopback.
    """
    direct = dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]"))
    return HttpClient(
        transport=transport,
        verify=ssl_context(),
        timeout=httpx.Timeout(30.0, connect=3.0),
        limits=httpx.Limits(max_connections=100, max_keepalive_connections=20),
        headers={"User-Agent": USER_AGENT},
        mounts=None if transport else direct,
    )


@dataclass(frozen=True)
class Fetched:
    """What an address answered; `url` is where the redirects ended."""

    url: str
    status: int
    content_type: str
    body: bytes

    @property
    def text(self) -> str:
        """Decode the body by its declared charset, else as UTF-8, never failing."""
        header = Message()
        header["content-type"] = self.content_type or "text/plain"
        charset = header.get_content_charset("utf-8")
        try:
            return self.body.decode(charset, "replace")
        except LookupError:
            return self.body.decode("utf-8", "replace")


@dataclass(frozen=True)
class Streamed:
    """An answer that is read piece by piece; `url` is where the redirects ended."""

    url: str
    status: int
    headers: Mapping[str, str]
    _target: Target
    _response: httpx.Response = field(repr=False)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes.

        Raises:
            TimedOut: nothing came for the stream's `stall` seconds.
            UpstreamRejected: the connection broke, or the body is packed although nobody asked.
        """
        packed = self._response.headers.get("content-encoding", "identity").strip().lower()
        if packed not in {"identity", ""}:
            raise UpstreamRejected(f"{self._target.host} answered in an encoding nobody asked for")
        try:
            # As it comes: what was gathered for a round chunk would be lost when it breaks off.
            async for piece in self._response.aiter_raw():
                yield piece
        except httpx.HTTPError as error:
            raise _translated(self._target, error) from error


@dataclass(frozen=True)
class _Request:
    """What a hop is asked with; `trusted` holds the origins that settings name."""

    headers: Mapping[str, str]
    trusted: Collection[str] = ()
    timeout: httpx.Timeout | None = None


class SafeFetch:
    """Fetch addresses that a model or a stranger chose, from the public web only.

    A name is resolved once, every address it has is checked, and the connection goes to a
    checked address, with the name kept for TLS and the Host header. Redirects are followed
    one by one under the same rules. No cookies, no credentials, no proxies.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        resolve: Resolve | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        verify: ssl.SSLContext | None = None,
        own: Callable[[], Collection[Address]] = own_addresses,
    ) -> None:
        """Open private networks only where the operator's setting does."""
        self._own = own
        self._allow_private = allow_private
        self._resolve = resolve or _resolve
        # A kept connection to an address could be reused under another host's name.
        limits = httpx.Limits(max_connections=20, max_keepalive_connections=0)
        self._client = HttpClient(
            transport=transport,
            verify=verify or ssl_context(),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(20.0, connect=5.0),
            limits=limits,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def get(
        self,
        url: str,
        *,
        max_bytes: int = 10 * 1024 * 1024,
        timeout: float = 30.0,
        accept: Sequence[str] = (),
    ) -> Fetched:
        """Fetch one address; `accept` lists media types, `text/*` style wildcards allowed.

        Raises:
            InvalidInput: the address is malformed.
            PermissionDenied: it (or a redirect) leads to where nothing may be fetched.
            TooLarge: the answer, unpacked, is larger than `max_bytes`.
            TimedOut: all hops together took longer than `timeout` seconds.
            UpstreamUnavailable, UpstreamRejected: the other side is away or lies.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._follow(url, max_bytes, accept)
        except TimeoutError as error:
            raise TimedOut(f"The address did not answer within {timeout:g} seconds") from error

    @asynccontextmanager
    async def stream(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        credentials: Mapping[str, str] | None = None,
        trusted: Collection[str] = (),
        stall: float = 60.0,
    ) -> AsyncIterator[Streamed]:
        """Open an address for reading piece by piece, under the same rules as `get`.

        `credentials` are headers for the first origin only: a redirect to another host, port or
        scheme goes without. `trusted` holds origins (`origin_of`) that an operator's settings
        name, which may lie on a private network; what they redirect to is checked as ever.
        `stall` is how many seconds the other side may be silent.

        Raises:
            NebulaError: as `get`; TimedOut when a connection is not answered in time.
        """
        secret = dict(credentials or {})
        asked = _Request(
            headers={"Accept": "*/*", "Accept-Encoding": "identity", **(headers or {})},
            trusted=trusted,
            timeout=httpx.Timeout(stall, connect=10.0),
        )
        home = origin_of(url)
        target = self._target(url, trusted)
        for _ in range(MAX_REDIRECTS + 1):
            # Anything but the origin that the credentials are for would learn them.
            own = secret if origin_of(str(target.url)) == home else {}
            hop = _Request({**asked.headers, **own}, asked.trusted, asked.timeout)
            addresses = await self._checked(target, trusted)
            async with self._open(target, addresses, hop) as response:
                if response.status_code not in _REDIRECTS or "location" not in response.headers:
                    found = {name.lower(): value for name, value in response.headers.items()}
                    yield Streamed(str(target.url), response.status_code, found, target, response)
                    return
                target = self._next(target, response.headers["location"], trusted)
        raise UpstreamRejected(f"The address redirects more than {MAX_REDIRECTS} times")

    async def _follow(self, url: str, max_bytes: int, accept: Sequence[str]) -> Fetched:
        target = self._target(url)
        asked = _Request({"Accept": ", ".join(accept) or "*/*", "Accept-Encoding": "gzip"})
        for _ in range(MAX_REDIRECTS + 1):
            addresses = await self._checked(target)
            async with self._open(target, addresses, asked) as response:
                if response.status_code not in _REDIRECTS or "location" not in response.headers:
                    return await _read(target, response, max_bytes, accept)
                target = self._next(target, response.headers["location"])
        raise UpstreamRejected(f"The address redirects more than {MAX_REDIRECTS} times")

    def _target(self, url: str, trusted: Collection[str] = ()) -> Target:
        target = parse_target(url, any_port=True)
        if not self._allow_private and origin_of(str(target.url)) not in trusted:
            check_port(target)
        return target

    def _next(self, target: Target, location: str, trusted: Collection[str] = ()) -> Target:
        following = self._target(urljoin(str(target.url), location), trusted)
        if target.url.scheme == "https" and following.url.scheme == "http":
            raise PermissionDenied("The address redirects from https to http")
        return following

    async def _checked(self, target: Target, trusted: Collection[str] = ()) -> list[Address]:
        allowed = self._allow_private or origin_of(str(target.url)) in trusted
        if target.literal is not None:
            found: Sequence[str] = [target.host]
        else:
            found = await self._resolve(target.host, target.port)
        if not found:
            raise UpstreamUnavailable(f"There is no host named {target.host}")
        return check_addresses(found, allow_private=allowed, own=self._own())

    @asynccontextmanager
    async def _open(
        self, target: Target, addresses: list[Address], asked: _Request
    ) -> AsyncIterator[httpx.Response]:
        response = await self._connect(target, addresses, asked)
        try:
            yield response
        finally:
            await response.aclose()

    async def _connect(
        self, target: Target, addresses: list[Address], asked: _Request
    ) -> httpx.Response:
        """Send the request to the first checked address that takes the connection."""
        problem: httpx.ConnectError | httpx.ConnectTimeout | None = None
        for address in addresses[:4]:
            request = self._client.build_request(
                "GET",
                target.url.copy_with(host=str(address)),
                headers={
                    "Host": target.url.netloc.decode("ascii"),
                    "User-Agent": USER_AGENT,
                    **asked.headers,
                },
                timeout=asked.timeout or self._client.timeout,
                extensions={"sni_hostname": target.host},
            )
            try:
                return await self._client.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                problem = error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise _translated(target, error) from error
        raise UpstreamUnavailable(f"{target.host} does not answer") from problem


def origin_of(url: str) -> str:
    """Return a URL's origin `scheme://host:port`, with the port written out.

    Raises:
        InvalidInput: when it is not a plain http(s) URL.
    """
    target = parse_target(url, any_port=True)
    return f"{target.url.scheme}://{target.host}:{target.port}"


def _translated(target: Target, error: Exception) -> NebulaError:
    if isinstance(error, httpx.TimeoutException):
        return TimedOut(f"{target.host} took too long to answer")
    if isinstance(error, httpx.InvalidURL):
        return InvalidInput("That is not a web address")
    return UpstreamRejected(f"{target.host} did not answer as a web server does")


async def _resolve(host: str, port: int) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def _read(
    target: Target, response: httpx.Response, max_bytes: int, accept: Sequence[str]
) -> Fetched:
    content_type = response.headers.get("content-type", "")
    if accept and response.is_success and not _acceptable(content_type, accept):
        kind = content_type.partition(";")[0].strip()[:80] or "an unknown type"
        raise UpstreamRejected(f"{target.host} answered with {kind}, not {' or '.join(accept)}")
    declared = response.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    try:
        async for piece in _unpacked(target, response):
            body += piece
            if len(body) > max_bytes:
                raise _too_large(max_bytes)
    except httpx.HTTPError as error:
        raise _translated(target, error) from error
    return Fetched(str(target.url), response.status_code, content_type, bytes(body))


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The answer is larger than {max_bytes:,} bytes")


def _acceptable(content_type: str, accept: Sequence[str]) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    for wanted in (entry.lower() for entry in accept):
        family, _, rest = wanted.partition("/")
        if wanted in {"*/*", kind} or (rest == "*" and kind.startswith(f"{family}/")):
            return True
    return False


async def _unpacked(target: Target, response: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the body in pieces of at most 64 KiB, so that a bomb is met piece by piece."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in {"identity", ""}:
        async for piece in response.aiter_raw(_CHUNK):
            yield piece
        return
    if encoding not in {"gzip", "x-gzip"}:
        raise UpstreamRejected(f"{target.host} answered in an encoding nobody asked for")
    unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    started = False
    try:
        async for piece in response.aiter_raw(_CHUNK):
            started = True
            for part in _inflated(unpack, piece):
                yield part
    except zlib.error as error:
        raise UpstreamRejected(f"{target.host} answered with a damaged body") from error
    if started and not unpack.eof:
        raise UpstreamRejected(f"{target.host} answered with a body that breaks off")


def _inflated(unpack: "zlib._Decompress", piece: bytes) -> Iterator[bytes]:
    rest = piece
    while not unpack.eof:
        part = unpack.decompress(rest, _CHUNK)
        yield part
        rest = unpack.unconsumed_tail
        if not rest and len(part) < _CHUNK:
            return
