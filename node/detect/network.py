"""This machine's addresses: Tailscale's, and the card that a magic packet would wake."""

import ipaddress
import socket
from collections.abc import Iterable

import psutil

from node.detect.run import output
from node.protocol import magic_packet

# https://tailscale.com/kb/1015/100.x-addresses
TAILSCALE = (ipaddress.ip_network("100.64.0.0/10"), ipaddress.ip_network("fd7a:115c:a1e0::/48"))


def is_tailscale(text: str) -> bool:
    """Say whether an address is one of Tailscale's."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return any(address.version == net.version and address in net for net in TAILSCALE)


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine itself."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def tailscale() -> str | None:
    """Return this machine's Tailscale address: by `tailscale ip`, else by its interface."""
    for line in output(["tailscale", "ip", "-4"]).splitlines():
        if is_tailscale(line.strip()):
            return line.strip()
    return next((a for a in _addresses() if is_tailscale(a)), None)


def _addresses() -> Iterable[str]:
    for found in psutil.net_if_addrs().values():
        yield from (a.address for a in found if a.family == socket.AF_INET)


def lan() -> tuple[str | None, str | None]:
    """Return the MAC and broadcast address of the card this machine is reached by at home."""
    for name, found in sorted(psutil.net_if_addrs().items()):
        mac = next((a.address for a in found if a.family == psutil.AF_LINK), None)
        home = next((a for a in found if a.family == socket.AF_INET), None)
        if mac is None or home is None or not _wakeable(name, mac, home.address):
            continue
        return mac.replace("-", ":").lower(), home.broadcast or _broadcast(home)
    return None, None


def _wakeable(name: str, mac: str, address: str) -> bool:
    virtual = name.startswith(("docker", "br-", "veth", "virbr", "tailscale", "lo"))
    return not virtual and set(mac) - set("0:-") != set() and not is_loopback(address)


def _broadcast(address: object) -> str | None:
    """Work the broadcast address out where the system does not tell it (Windows)."""
    try:
        text = f"{getattr(address, 'address', '')}/{getattr(address, 'netmask', '')}"
        return str(ipaddress.ip_interface(text).network.broadcast_address)
    except ValueError:
        return None


def send_magic_packet(mac: str, broadcast: str | None = None, port: int = 9) -> None:
    """Wake the machine with this card; nobody answers, so nobody knows. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.sendto(magic_packet(mac), (broadcast or "255.255.255.255", port))
