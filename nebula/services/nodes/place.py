"""Which addresses secrets may be sent to: TLS anywhere, plain HTTP only inside Tailscale or here."""

import ipaddress
from urllib.parse import urlsplit

from nebula.errors import InvalidInput

# Tailscale's own ranges: https://tailscale.com/kb/1015/100.x-addresses
_TAILSCALE = (ipaddress.ip_network("100.64.0.0/10"), ipaddress.ip_network("fd7a:115c:a1e0::/48"))


def checked_url(text: str) -> str:
    """Return an agent's address without a trailing slash, when secrets may be sent to it.

    Raises:
        InvalidInput: when it is no http(s) address, or plain HTTP to another machine.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise InvalidInput(f"{text[:100]!r} is not an address") from error
    plain = parts.path in {"", "/"} and not (parts.query or parts.fragment or parts.username)
    if parts.scheme not in {"http", "https"} or not host or port is None or not plain:
        raise InvalidInput(
            f"{text[:100]!r} is not an agent's address",
            hint="Write it like http://100.101.102.103:8431.",
        )
    if parts.scheme == "http" and not private(host):
        raise InvalidInput(
            f"{host} would get secrets over plain HTTP",
            hint="Use the machine's Tailscale address, or give its agent a TLS certificate.",
        )
    return text.rstrip("/")


def private(host: str) -> bool:
    """Say whether a host is this machine or an address of Tailscale."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or any(
        address.version == net.version and address in net for net in _TAILSCALE
    )
