"""SafeFetch reaches the public web and nothing else."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from benchmarks.corpora import Address, ssrf
from nebula.addresses import check_addresses, parse_target
from nebula.errors import (
    InvalidInput,
    NebulaError,
    PermissionDenied,
    TimedOut,
    TooLarge,
    UpstreamRejected,
    UpstreamUnavailable,
)
from nebula.http import Resolve, SafeFetch, make_http, origin_of
from tests.fakes.inside import SECRET, inside
from tests.fakes.serve import refusing, serve


class Unreachable(httpx.AsyncBaseTransport):
    """Notices any request that should never have been sent."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(200, stream=httpx.ByteStream(b"secret"))


def resolving(*answers: Sequence[str]) -> tuple[list[str], Resolve]:
    """Answer each look-up with the next list; the last one repeats."""
    asked: list[str] = []

    async def resolve(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    return asked, resolve


async def test_no_form_of_address_reaches_the_inside() -> None:
    reached = {}
    async with inside() as network, network.fetcher() as fetch:
        for form in ssrf():
            rung, said = await network.attack(fetch, form)
            if rung or "LEAKED" in said:
                reached[form.name] = said
    assert reached == {}


async def test_the_canary_of_the_corpus_rings_when_nobody_looks() -> None:
    """Without the check the same network does lead inside, over IPv4 and IPv6."""
    async with inside() as network:
        for url in ("http://127.0.0.1/", "http://[::1]/", "http://10.0.0.1/"):
            fetch = network.fetcher()
            fetch._allow_private = True
            async with fetch:
                assert (await fetch.get(url)).body == SECRET
        assert network.rung == 3


@pytest.mark.parametrize(
    "form", [f for f in ssrf() if not f.resolves and not f.redirects], ids=lambda form: form.name
)
async def test_a_forbidden_address_is_refused_and_nothing_is_sent(form: Address) -> None:
    transport = Unreachable()
    _, resolve = resolving(["93.184.215.14"])
    async with SafeFetch(resolve=resolve, transport=transport) as fetch:
        with pytest.raises((InvalidInput, PermissionDenied)):
            await fetch.get(form.url)
    assert transport.requests == []


def test_the_corpus_is_large_enough_and_has_no_twins() -> None:
    assert len(ssrf()) == len({form.name for form in ssrf()}) >= 150


async def test_a_proxy_of_the_environment_sees_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with inside() as network, serve(WEB) as url:
        proxy = f"http://127.0.0.1:{network.canary_ports[4]}"
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        async with SafeFetch(allow_private=True) as fetch:
            assert (await fetch.get(url)).status == 200
        assert network.rung == 0


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "100.64.0.9", "::1", "fd00::1", "::ffff:10.0.0.1", "169.254.1.1"],
)
async def test_a_name_that_leads_inside_is_refused_even_beside_a_public_address(
    address: str,
) -> None:
    transport = Unreachable()
    _, resolve = resolving(["93.184.215.14", address])
    async with SafeFetch(resolve=resolve, transport=transport) as fetch:
        with pytest.raises(PermissionDenied):
            await fetch.get("http://innocent.example/")
    assert transport.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "http://example.com.:8080/a?b=c#d",
        "https://93.184.215.14/",
        "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/",
        "https://bücher.example/",
        "https://xn--bcher-kva.example/",
        "https://[64:ff9b::5db8:d70e]/",
    ],
)
async def test_an_ordinary_address_is_fetched(url: str) -> None:
    transport = Unreachable()
    _, resolve = resolving(["93.184.215.14"])
    async with SafeFetch(resolve=resolve, transport=transport) as fetch:
        assert (await fetch.get(url)).body == b"secret"


async def test_the_connection_goes_to_the_checked_address_though_the_name_now_leads_elsewhere() -> (
    None
):
    asked, resolve = resolving(["93.184.215.14"], ["127.0.0.1"])
    transport = Unreachable()
    async with SafeFetch(resolve=resolve, transport=transport) as fetch:
        await fetch.get("https://rebind.example/")
    assert asked == ["rebind.example"], "looked up once"
    (sent,) = transport.requests
    assert sent.url.host == "93.184.215.14"
    assert sent.headers["host"] == "rebind.example"
    assert sent.extensions["sni_hostname"] == "rebind.example"


@pytest.mark.parametrize("allowed", [True, False])
def test_the_setting_opens_private_networks_but_never_metadata(allowed: bool) -> None:
    for private in ("10.0.0.1", "127.0.0.1", "100.64.1.1", "fd00::1", "::1"):
        if allowed:
            assert check_addresses([private], allow_private=True)
        else:
            with pytest.raises(PermissionDenied):
                check_addresses([private], allow_private=False)
    for never in ("169.254.169.254", "100.100.100.200", "fd00:ec2::254", "224.0.0.1", "0.0.0.0"):
        with pytest.raises(PermissionDenied):
            check_addresses([never], allow_private=allowed)


def test_any_port_is_open_on_networks_the_operator_opened() -> None:
    assert parse_target("http://10.0.0.1:11434/", any_port=True).port == 11434


def _bomb() -> bytes:
    return gzip.compress(b"\0" * (16 * 1024 * 1024))


async def _hello(request: Request) -> Response:
    seen = f"{request.headers['host'].partition(':')[0]} {request.headers.get('cookie', '')}"
    return Response(seen, media_type="text/plain", headers={"Set-Cookie": "track=1"})


async def _long(_: Request) -> Response:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 10_000
            await asyncio.sleep(0)  # the server learns of a disconnect only between pieces

    return StreamingResponse(endless(), media_type="text/plain")


async def _slow(_: Request) -> Response:
    async def drops() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.Event().wait()

    return StreamingResponse(drops())


async def _encoded(request: Request) -> Response:
    body = {
        "bomb": _bomb,
        "good": lambda: gzip.compress(b"packed" * 50_000),
        "cut": lambda: gzip.compress(b"packed" * 50_000)[:-20],
        "bad": lambda: b"not gzip at all",
        "br": lambda: b"whatever",
    }[request.path_params["kind"]]()
    encoding = "br" if request.path_params["kind"] == "br" else "gzip"
    return Response(body, headers={"Content-Encoding": encoding}, media_type="text/plain")


async def _hop(request: Request) -> Response:
    return RedirectResponse(request.query_params["to"])


async def _loop(_: Request) -> Response:
    return RedirectResponse("/loop")


async def _broken(_: Request) -> Response:
    async def breaks() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    return StreamingResponse(breaks())


WEB = Starlette(
    routes=[
        Route("/", _hello),
        Route("/long", _long),
        Route("/slow", _slow),
        Route("/encoded/{kind}", _encoded),
        Route("/hop", _hop),
        Route("/loop", _loop),
        Route("/broken", _broken),
        Route(
            "/latin",
            lambda _: Response("é".encode("latin-1"), media_type="text/plain; charset=latin-1"),
        ),
    ]
)


async def test_it_fetches_decodes_and_keeps_no_cookies() -> None:
    async with serve(WEB) as url, SafeFetch(allow_private=True) as fetch:
        first = await fetch.get(f"{url}/hop?to=/")
        assert (first.status, first.text, first.url) == (200, "127.0.0.1 ", f"{url}/")
        assert (await fetch.get(url)).text == "127.0.0.1 "
        assert (await fetch.get(f"{url}/latin")).text == "é"
        assert (await fetch.get(f"{url}/nowhere")).status == 404
        assert (await fetch.get(f"{url}/encoded/good")).body == b"packed" * 50_000


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/long", TooLarge),
        ("/encoded/bomb", TooLarge),
        ("/encoded/cut", UpstreamRejected),
        ("/encoded/bad", UpstreamRejected),
        ("/encoded/br", UpstreamRejected),
        ("/broken", UpstreamRejected),
        ("/loop", UpstreamRejected),
        ("/slow", TimedOut),
        ("/hop?to=http://169.254.169.254/", PermissionDenied),
        ("/hop?to=file:///etc/passwd", InvalidInput),
        ("/hop?to=//user@example.com/", InvalidInput),
        ("/hop?to=http://0x7f000001/", InvalidInput),
    ],
)
async def test_a_misbehaving_server_ends_in_a_clear_error(
    path: str, error: type[NebulaError]
) -> None:
    async with serve(WEB) as url, SafeFetch(allow_private=True) as fetch:
        with pytest.raises(error):
            await fetch.get(url + path, max_bytes=1_000_000, timeout=1.0)


async def test_a_redirect_from_outside_to_inside_is_refused_at_the_hop() -> None:
    class Redirecting(Unreachable):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            self.requests.append(request)
            return httpx.Response(302, headers={"location": "http://inside.example/"})

    transport = Redirecting()
    _, resolve = resolving(["93.184.215.14"], ["192.168.1.1"])
    async with SafeFetch(resolve=resolve, transport=transport) as fetch:
        with pytest.raises(PermissionDenied):
            await fetch.get("http://outside.example/")
        assert len(transport.requests) == 1
        with pytest.raises(PermissionDenied):
            await fetch.get("https://outside.example/")


async def test_only_the_wanted_media_types_are_read() -> None:
    async with serve(WEB) as url, SafeFetch(allow_private=True) as fetch:
        assert (await fetch.get(url, accept=["text/*"])).status == 200
        with pytest.raises(UpstreamRejected, match="not application/pdf"):
            await fetch.get(url, accept=["application/pdf"])


async def test_a_host_that_is_down_or_unknown_is_unavailable() -> None:
    async def nothing(_host: str, _port: int) -> Sequence[str]:
        return []

    with refusing() as url:
        async with SafeFetch(allow_private=True) as fetch:
            with pytest.raises(UpstreamUnavailable):
                await fetch.get(url)
    async with SafeFetch(resolve=nothing) as fetch:
        with pytest.raises(UpstreamUnavailable, match="no host named"):
            await fetch.get("http://nowhere.example/")


async def test_tls_is_verified_against_the_name_and_not_the_address() -> None:
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("files.example").configure_cert(served)
    names: list[str | None] = []
    served.sni_callback = lambda _socket, name, _context: names.append(name)
    _, resolve = resolving(["127.0.0.1"])
    async with serve(WEB, tls=served) as url:
        port = httpx.URL(url).port
        async with SafeFetch(allow_private=True, resolve=resolve, verify=trusting) as fetch:
            assert (await fetch.get(f"https://files.example:{port}/")).text == "files.example "
            with pytest.raises(UpstreamUnavailable):
                await fetch.get(f"https://other.example:{port}/")
    assert names == ["files.example", "other.example"]


async def test_the_ordinary_client_reaches_loopback_past_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with refusing() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        async with serve(WEB) as url, make_http() as http:
            answer = await http.get(url)
    assert answer.status_code == 200
    assert answer.request.headers["user-agent"].startswith("nebula-command/")


async def test_a_stream_trusts_named_origins_only_and_shows_credentials_to_the_first() -> None:
    seen: list[tuple[str, str | None]] = []
    to = ""

    async def hop(request: Request) -> Response:
        seen.append((request.url.path, request.headers.get("authorization")))
        return RedirectResponse(to) if request.url.path == "/a" else Response(b"x" * 200_000)

    site = Starlette(routes=[Route("/a", hop), Route("/b", hop)])
    secret = {"Authorization": "Bearer s"}
    async with serve(site) as one, serve(site) as two:
        ours = {origin_of(one)}
        async with SafeFetch() as fetch:
            with pytest.raises(PermissionDenied):
                async with fetch.stream(f"{one}/a", credentials=secret):
                    pass
            assert seen == [], "a private address that nobody named gets no request at all"
            to = f"{one}/b"
            async with fetch.stream(f"{one}/a", credentials=secret, trusted=ours) as answer:
                assert sum([len(piece) async for piece in answer.pieces()]) == 200_000
            assert seen == [("/a", "Bearer s"), ("/b", "Bearer s")]
            to = f"{two}/b"
            with pytest.raises(PermissionDenied):
                async with fetch.stream(f"{one}/a", credentials=secret, trusted=ours):
                    pass
        async with (
            SafeFetch(allow_private=True) as fetch,
            fetch.stream(f"{one}/a", credentials=secret) as answer,
        ):
            assert answer.status == 200 and answer.url == f"{two}/b"
    assert seen[-2:] == [("/a", "Bearer s"), ("/b", None)]
