"""Which addresses a URL chosen by a model may reach: pure rules, no network.

Everything is refused that is not an ordinary public web address. What no setting opens:
link-local addresses (cloud metadata lives there), multicast, unspecified and reserved ranges.
Ranges: IANA special-purpose registries for IPv4 and IPv6, read together with RFC 6052 (NAT64).
"""

import ipaddress
import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import httpx

from nebula.errors import InvalidInput, PermissionDenied

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_URL: Final = 2048
WEB_PORTS: Final = frozenset({80, 443, 8080, 8443})
_DEFAULT_PORT: Final = {"http": 80, "https": 443}
_LABEL = re.compile(r"^(?!-)[a-z0-9_-]{1,63}(?<!-)$")
_NUMERIC_LABEL = re.compile(r"^(0x[0-9a-f]*|[0-9]+)$")
# int() reads the digits of every script.
_PORT = re.compile(r"^(\[[^\]]*\]|[^:\[\]]*)(:[0-9]*)?$")
_CANONICAL_V4 = re.compile(r"^(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}$")

_V6_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NEVER = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "169.254.0.0/16",
        "168.63.129.16/32",  # Azure's host agent, a public number that answers inside only
        "192.0.0.0/24",
        "192.88.99.0/24",
        "192.0.2.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/128",
        "100::/64",
        "2001::/23",  # Teredo and other protocol assignments
        "2001:db8::/32",
        "2002::/16",  # 6to4 carries any IPv4 address
        "3fff::/20",
        "fd00:ec2::/32",  # AWS metadata
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
        "64:ff9b:1::/48",
    )
)
_PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier NAT, and Tailscale
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
    )
)
_METADATA_IN_PRIVATE = frozenset({ipaddress.ip_address("100.100.100.200")})


@dataclass(frozen=True)
class Target:
    """A checked URL: `host` is an ASCII name, or the text of an IP address."""

    url: httpx.URL
    host: str
    port: int

    @property
    def literal(self) -> Address | None:
        """Return the address when the host is one."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None


def parse_target(url: str, *, any_port: bool = False) -> Target:
    """Read a URL strictly, so that no later reader can understand it differently.

    Raises:
        InvalidInput: when it is not a plain http(s) URL.
        PermissionDenied: when its port is not one of the web's.
    """
    if len(url) > MAX_URL:
        raise InvalidInput(f"The address is longer than {MAX_URL} characters")
    if any(c.isspace() or unicodedata.category(c).startswith("C") or c == "\\" for c in url):
        raise InvalidInput("The address holds spaces, backslashes or control characters")
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise InvalidInput("That is not a web address", hint="Use https://host/path.") from error
    if parsed.scheme not in _DEFAULT_PORT:
        raise InvalidInput("Only http and https addresses can be fetched")
    if "@" in _authority(url):
        raise InvalidInput("The address must not hold a user name or password")
    if not _PORT.search(_authority(url)):
        raise InvalidInput("The address's port is no plain number")
    host = _host(parsed)
    port = _DEFAULT_PORT[parsed.scheme] if parsed.port is None else parsed.port
    target = Target(parsed.copy_with(fragment=None), host, port)
    if not any_port:
        check_port(target)
    return target


def _authority(url: str) -> str:
    return re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]


def check_port(target: Target) -> None:
    """Refuse what is not a port of the public web.

    Raises:
        PermissionDenied: when it is another one.
    """
    if target.port not in WEB_PORTS:
        raise PermissionDenied(
            f"Port {target.port} is not a port of the public web",
            hint="Ports 80, 443, 8080 and 8443 can be fetched.",
        )


def _host(parsed: httpx.URL) -> str:
    raw = parsed.raw_host.decode("ascii", "replace").lower()
    if "%" in raw:
        raise InvalidInput("The address's host holds an escape or a zone")
    if ":" in raw:
        try:
            return str(ipaddress.IPv6Address(raw.strip("[]")))
        except ValueError as error:
            raise InvalidInput("That is not an IPv6 address") from error
    host = raw.removesuffix(".")
    if _CANONICAL_V4.match(host):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as error:
            raise InvalidInput("That is not an IPv4 address") from error
    labels = host.split(".")
    if _NUMERIC_LABEL.match(labels[-1]):
        # inet_aton reads 2130706433, 0x7f.1 and 0177.0.0.1 as addresses; nobody else has to.
        raise InvalidInput("The address's host is a number in an unusual spelling")
    if len(host) > 253 or not all(_LABEL.match(label) for label in labels):
        raise InvalidInput("The address's host is not a valid name")
    return host


def check_addresses(
    found: Sequence[str], *, allow_private: bool, own: Collection[Address] = ()
) -> list[Address]:
    """Return the addresses when every one may be reached; one bad address refuses them all.

    `own` are the addresses of this machine: a public one leads to its own services.

    Raises:
        PermissionDenied: when any of them is not allowed.
    """
    addresses = [_parse_address(text) for text in found]
    for address in addresses:
        refused = _refusal(address, allow_private=allow_private)
        if refused:
            raise PermissionDenied(f"The address leads to {refused}, which may not be fetched")
        if address in own and not allow_private:
            raise PermissionDenied("The address leads to this machine, which may not be fetched")
    return addresses


def _parse_address(text: str) -> Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        raise PermissionDenied("The address leads to something that is no IP address") from error


def _refusal(address: Address, *, allow_private: bool) -> str:
    """Say what kind of forbidden place an address is; empty when it is allowed."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return "a link-local network"
        inner = _inner(address)
        if inner is not None:
            return _refusal(inner, allow_private=allow_private)
    if address in _METADATA_IN_PRIVATE or any(_in(address, network) for network in _NEVER):
        return "a reserved or link-local network"
    if any(_in(address, network) for network in _PRIVATE):
        return "" if allow_private else "a private network"
    if isinstance(address, ipaddress.IPv6Address) and address not in _V6_UNICAST:
        return "a reserved network"
    return "" if address.is_global and not address.is_multicast else "a reserved network"


def _in(address: Address, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    return address.version == network.version and address in network


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Unwrap the IPv4 address of a mapped, compatible or NAT64 one."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64 or (int(address) >> 32 == 0 and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None
