"""Which addresses of repositories may be cloned, and where they lead."""

import asyncio
import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from nebula.addresses import Address, check_addresses
from nebula.errors import InvalidInput, UpstreamUnavailable
from nebula.own_addresses import own_addresses

_HOST = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")
_USER = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
_SCP = re.compile(r"^(?:([^@/:]+)@)([^:/]+):(?!//)(.+)$")
_FORGES = frozenset({"github.com", "gitlab.com", "codeberg.org", "bitbucket.org"})
_PORTS = {"https": 443, "http": 80, "ssh": 22}


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


async def address_of(remote: Remote, *, allow_private: bool) -> Address:
    """Resolve a host once: to this address it is connected, so that it cannot change in between.

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
    return check_addresses(names, allow_private=allow_private, own=own_addresses())[0]
