"""Clones a git repository, shallow and bare of anything that could run or leak."""

import asyncio
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from nebula.addresses import check_addresses
from nebula.errors import (
    InvalidInput,
    TimedOut,
    TooLarge,
    UpstreamRejected,
    UpstreamUnavailable,
)
from nebula.own_addresses import own_addresses

_HOST = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")
_USER = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
_SCP = re.compile(r"^(?:([^@/:]+)@)([^:/]+):(?!//)(.+)$")
_FORGES = frozenset({"github.com", "gitlab.com", "codeberg.org", "bitbucket.org"})
_POLL_SECONDS = 0.2
_PORTS = {"https": 443, "http": 80, "ssh": 22}


@dataclass(frozen=True)
class CloneLimits:
    """How much a clone may take, in bytes of disk and in seconds."""

    max_bytes: int
    seconds: float


@dataclass(frozen=True)
class Remote:
    """An address that git may be given: checked parts, no password."""

    scheme: str
    host: str
    port: int
    url: str


def looks_like_repository(source: str) -> bool:
    """Say whether a source names a repository and not a page."""
    if source.startswith(("ssh://", "git://")) or _SCP.match(source):
        return True
    parts = urlsplit(source)
    if parts.scheme not in {"http", "https"}:
        return False
    steps = [step for step in parts.path.split("/") if step]
    return parts.path.endswith(".git") or (parts.hostname in _FORGES and len(steps) == 2)


def parse_remote(source: str, *, allow_private: bool) -> Remote:
    """Check a repository's address.

    Raises:
        InvalidInput: when it is not https or ssh, or holds a password.
    """
    scp = _SCP.match(source)
    url = f"ssh://{scp[1]}@{scp[2]}/{scp[3].lstrip('/')}" if scp else source
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise InvalidInput(f"{source} is no address of a repository") from error
    allowed = {"https", "ssh"} | ({"http"} if allow_private else set())
    if parts.scheme not in allowed:
        raise InvalidInput("Repositories are cloned over https or ssh only")
    if parts.password or (parts.username and parts.scheme != "ssh"):
        raise InvalidInput("Leave user name and password out of the repository's address")
    host_ok = _HOST.match(parts.hostname or "") and _USER.match(parts.username or "git")
    if not host_ok or not parts.path.strip("/") or parts.path.startswith("/-"):
        raise InvalidInput(f"{source} is no address of a repository")
    return Remote(parts.scheme, parts.hostname or "", port, url)


@asynccontextmanager
async def cloned(
    url: str, limits: CloneLimits, *, scheme: str, pins: tuple[str, ...] = ()
) -> AsyncIterator[Path]:
    """Clone the newest commit into a folder that is gone afterwards.

    `pins` are further git options from `pinned`; `scheme` is the one transport git may use.

    Raises:
        TooLarge: when the clone takes more disk than allowed.
        TimedOut: when it takes longer than allowed.
        UpstreamRejected: when git refuses or finds nothing.
    """
    made = await asyncio.to_thread(tempfile.mkdtemp, prefix="jarvis-clone-")
    folder = Path(made)
    try:
        await _clone(url, folder, limits, scheme, pins)
        yield folder / "tree"
    finally:
        await asyncio.to_thread(shutil.rmtree, made, True)


async def pinned(remote: Remote, *, allow_private: bool) -> tuple[str, ...]:
    """Resolve a host once and tie git to that address, so that it cannot change in between.

    Raises:
        UpstreamUnavailable: when the name does not resolve.
        PermissionDenied: when any of its addresses may not be reached.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(remote.host, remote.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UpstreamUnavailable(f"There is no host named {remote.host}") from error
    names = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    address = check_addresses(names, allow_private=allow_private, own=own_addresses())[0]
    if remote.scheme == "ssh":
        # git runs this through a shell: host and address are of checked form.
        ssh = f"ssh -o BatchMode=yes -o ConnectTimeout=10 -o HostKeyAlias={remote.host}"
        return ("-c", f"core.sshCommand={ssh} -o HostName={address}")
    shown = f"[{address}]" if address.version == 6 else str(address)
    return ("-c", f"http.curloptResolve={remote.host}:{remote.port}:{shown}")


async def _clone(
    url: str, folder: Path, limits: CloneLimits, scheme: str, pins: tuple[str, ...]
) -> None:
    process = await _start(url, folder, scheme, pins)
    watch = asyncio.create_task(_outgrows(folder, limits.max_bytes))
    read = asyncio.create_task(process.communicate())
    try:
        async with asyncio.timeout(limits.seconds):
            done, _ = await asyncio.wait({watch, read}, return_when=asyncio.FIRST_COMPLETED)
    except TimeoutError as error:
        raise TimedOut(
            f"Cloning took longer than {limits.seconds:.0f} s",
            hint="Clone it yourself into the inbox and add that folder.",
        ) from error
    finally:
        await _end(process, watch, read)
    # A quick clone may be over before the watch has looked again.
    if watch in done or await asyncio.to_thread(_size, folder) > limits.max_bytes:
        raise TooLarge(
            f"The repository takes more than {limits.max_bytes:,} bytes",
            hint="Clone it yourself and add only the folder you need.",
        )
    if process.returncode != 0:
        raise _refused((await read)[1].decode("utf-8", "replace"))


async def _start(
    url: str, folder: Path, scheme: str, pins: tuple[str, ...]
) -> asyncio.subprocess.Process:
    hooks = folder / "no-hooks"
    arguments = [
        "git", "-c", f"core.hooksPath={hooks}", "-c", "core.symlinks=false",
        "-c", "core.fsmonitor=false", "-c", "credential.helper=", "-c", "http.followRedirects=false",
        "-c", "protocol.allow=never", "-c", f"protocol.{scheme}.allow=always",
        "-c", "filter.lfs.smudge=", "-c", "filter.lfs.required=false", "-c", "lfs.fetchexclude=*",
        "-c", "transfer.fsckObjects=true", *pins,
        "clone", "--quiet", "--depth=1", "--single-branch", "--no-tags",
        "--no-recurse-submodules", f"--template={hooks}", "--", url, str(folder / "tree"),
    ]  # fmt: skip
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "LC_ALL": "C",
    }
    await asyncio.to_thread(hooks.mkdir)
    try:
        return await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise UpstreamUnavailable(
            "git is not installed here", hint="Install git, then add the repository again."
        ) from error


async def _end(
    process: asyncio.subprocess.Process,
    watch: "asyncio.Task[None]",
    read: "asyncio.Task[tuple[bytes, bytes]]",
) -> None:
    """Stop git and whatever it started, and wait until both are gone."""
    watch.cancel()
    if process.returncode is None:
        with suppress(ProcessLookupError):
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
    await asyncio.gather(watch, read, return_exceptions=True)


async def _outgrows(folder: Path, max_bytes: int) -> None:
    """Return once the folder takes more than `max_bytes`."""
    # The file system has no event for this: it has to be asked again and again.
    while await asyncio.to_thread(_size, folder) <= max_bytes:  # noqa: ASYNC110
        await asyncio.sleep(_POLL_SECONDS)


def _size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += (Path(parent) / name).lstat().st_size
    return total


def _refused(said: str) -> UpstreamRejected:
    lines = [line for line in said.splitlines() if line.startswith(("fatal:", "error:", "ERROR:"))]
    reason = (lines[0] if lines else "no reason given").partition(":")[2].strip()[:300]
    return UpstreamRejected(
        f"git could not clone it: {reason or 'no reason given'}",
        hint="Check the address, and that it can be read without a password.",
    )
