"""`jarvis up`: starts everything, prints one link, and stops cleanly."""

import asyncio
import errno
import os
import signal
import socket
import sys
import webbrowser
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nebula.errors import Conflict, InvalidInput
from nebula.settings import Settings
from ui.cli.beacon import light, put_out, running
from ui.cli.operator import read_settings

if TYPE_CHECKING:
    import uvicorn

_GRACE_SECONDS = 5


@dataclass(frozen=True)
class Wishes:
    """What the command line asked for."""

    host: str | None = None
    port: int | None = None
    redis: bool = False
    browser: bool = True


def up(wishes: Wishes) -> None:
    """Serve until stopped.

    Raises:
        Conflict: when the port is taken or this data folder is served already.
    """
    from nebula.log import configure_logging

    settings = _wished(read_settings(), wishes)
    configure_logging(settings.log_format, settings.log_level)
    settings.home.mkdir(parents=True, exist_ok=True)
    if (other := running(settings.home)) is not None:
        raise Conflict(
            f"Jarvis already runs at {other.url} (process {other.pid})",
            hint="Use that one, or stop it first, or set JARVIS_HOME to another folder.",
        )
    with ExitStack() as stack:
        listening = stack.enter_context(_listening(settings))
        settings = settings.model_copy(update={"port": listening.getsockname()[1]})
        if wishes.redis and not settings.redis_url:
            settings = settings.model_copy(update={"redis_url": _valkey(stack)})
        server, link = _prepare(stack, settings)
        _serve(server, listening, settings, link, browser=wishes.browser)


def _wished(settings: Settings, wishes: Wishes) -> Settings:
    asked = {"host": wishes.host, "port": wishes.port}
    changes = {key: value for key, value in asked.items() if value is not None}
    if wishes.port is not None and not 0 <= wishes.port <= 65535:
        raise InvalidInput(f"{wishes.port} is not a port", hint="A port is 1 to 65535.")
    return settings.model_copy(update=changes)


@contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    """Take the port before anything else starts, and keep it."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio turns Nagle's delay (40 ms an answer) off only where the socket says it is TCP.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind((settings.host, settings.port))
        except OSError as error:
            raise _cannot_listen(settings, error) from error
        yield taken


def _cannot_listen(settings: Settings, error: OSError) -> Conflict | InvalidInput:
    if error.errno == errno.EADDRINUSE:
        return Conflict(
            f"Port {settings.port} on {settings.host} is taken by another program",
            hint=f"Start with 'jarvis up --port {settings.port + 1}', or set JARVIS_PORT.",
        )
    return InvalidInput(
        f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}",
        hint="Check --host and --port (JARVIS_HOST, JARVIS_PORT).",
    )


def _valkey(stack: ExitStack) -> str:
    from nebula.db.valkey import EmbeddedValkey

    return stack.enter_context(EmbeddedValkey())


def _prepare(stack: ExitStack, settings: Settings) -> "tuple[uvicorn.Server, str | None]":
    """Start the database in a thread while the server's many modules are imported here."""
    with ThreadPoolExecutor(1, "database") as pool:
        link = pool.submit(_database_and_link, stack, settings)
        try:
            server = _server(settings)
        finally:
            link.exception()  # wait, so that the database is on the stack before it unwinds
        return server, link.result()


def _database_and_link(stack: ExitStack, settings: Settings) -> str | None:
    from nebula.auth.service import Auth
    from nebula.db.embedded import EmbeddedPostgres
    from nebula.db.open import open_database

    if not settings.database_url:
        # Held beyond the event loop below, so that the server finds it running.
        stack.enter_context(EmbeddedPostgres(settings.home))

    async def first_link() -> str | None:
        async with open_database(settings) as database:
            return await Auth(database, settings).ensure_admin()

    return asyncio.run(first_link())


def _server(settings: Settings) -> "uvicorn.Server":
    import uvicorn

    from ui.server import create

    config = uvicorn.Config(
        create(settings),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        server_header=False,
        proxy_headers=False,
    )
    return uvicorn.Server(config)


def _serve(
    server: "uvicorn.Server",
    listening: socket.socket,
    settings: Settings,
    link: str | None,
    *,
    browser: bool,
) -> None:
    starting = server.startup

    async def announced(sockets: list[socket.socket] | None = None) -> None:
        await starting(sockets)
        if server.started:
            light(settings.home, _local(settings))
            _greet(link or settings.link, browser=browser)

    server.startup = announced  # type: ignore[method-assign] # uvicorn has no callback for it
    # uvicorn raises the signals it caught again when it is done; the way out is ours.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    try:
        asyncio.run(server.serve(sockets=[listening]))
    finally:
        put_out(settings.home)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
    if not server.started:
        raise Conflict("The server did not start", hint="The lines above say why.")
    sys.stderr.write("Stopped.\n")


def _local(settings: Settings) -> str:
    """Return the address this machine reaches the server by."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104
    return f"http://{host}:{settings.port}"


def _greet(link: str, *, browser: bool) -> None:
    sys.stdout.write(f"\n  Jarvis is ready: {link}\n\n")
    sys.stdout.flush()
    shown = (
        sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    if browser and shown and sys.stdout.isatty():
        webbrowser.open(link)
