"""The one stream that a clone may have with the outside: to the checked address, or through ssh."""

import asyncio
import os
import shlex
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import unquote, urlsplit

from knowledge.load.repository import Remote
from nebula.addresses import Address
from nebula.errors import UpstreamUnavailable

_CONNECT_SECONDS = 10.0
_SAID = 8 * 1024
_LIMIT = 64 * 1024
_FOR_SSH = ("PATH", "HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK")


class Way:
    """Opens streams to one repository's server; remembers why one could not be opened."""

    def __init__(self, remote: Remote, address: Address) -> None:
        """Take the repository, and the address that was found for it and checked."""
        self.remote = remote
        self._address = address
        self.said = ""
        """What ssh told on its error output."""
        self.failure: UpstreamUnavailable | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
        """Open one stream and close it."""
        opened = self._ssh() if self.remote.scheme == "ssh" else self._connection()
        async with opened as streams:
            yield streams

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                streams = await asyncio.open_connection(
                    str(self._address), self.remote.port, limit=_LIMIT
                )
        except OSError as error:  # a time-out too
            self.failure = UpstreamUnavailable(
                f"{self.remote.host} does not answer on port {self.remote.port}"
            )
            raise self.failure from error
        try:
            yield streams
        finally:
            streams[1].close()

    @asynccontextmanager
    async def _ssh(self) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
        """Run ssh out here, so that the account's keys stay out of the sandbox."""
        process = await self._started()
        assert process.stdin and process.stdout and process.stderr
        told = asyncio.create_task(_last_of(process.stderr))
        try:
            yield process.stdout, process.stdin
        finally:
            process.stdin.close()
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            self.said = await told

    async def _started(self) -> Process:
        try:
            return await asyncio.create_subprocess_exec(
                *ssh_arguments(self.remote, self._address),
                stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=_LIMIT,
                env={name: os.environ[name] for name in _FOR_SSH if name in os.environ},
            )  # fmt: skip
        except FileNotFoundError as error:
            self.failure = UpstreamUnavailable(
                "ssh is not installed here", hint="Install it: apt install openssh-client"
            )
            raise self.failure from error


async def _last_of(stream: StreamReader) -> str:
    kept = b""
    while piece := await stream.read(_SAID):
        kept = (kept + piece)[-_SAID:]
    return kept.decode("utf-8", "replace").strip()


def ssh_arguments(remote: Remote, address: Address) -> list[str]:
    """Return the ssh command that serves one repository, and nothing else, to a git that asks."""
    parts = urlsplit(remote.url)
    who = f"{parts.username}@{remote.host}" if parts.username else remote.host
    return [
        "ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10",
        "-o", f"HostKeyAlias={remote.host}", "-o", f"HostName={address}", "-p", str(remote.port),
        "-o", "ClearAllForwardings=yes", "-o", "ForwardAgent=no", "--", who,
        f"git-upload-pack {shlex.quote(unquote(parts.path))}",
    ]  # fmt: skip
