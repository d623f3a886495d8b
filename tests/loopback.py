"""Lets tests reach this machine only."""

import ipaddress
import sys
from typing import Any


class OutsideWorld(OSError):
    """A test tried to leave this machine."""


def guard() -> None:
    """Refuse, for the rest of this process, any address that is not loopback."""
    sys.addaudithook(_check)


def _check(event: str, arguments: tuple[Any, ...]) -> None:
    if event in {"socket.connect", "socket.sendto"}:
        address = arguments[1]
        if isinstance(address, tuple) and address and isinstance(address[0], str):
            _allow(address[0])
    elif event == "socket.getaddrinfo":
        _allow(arguments[0])


def _allow(host: Any) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name in {None, "", "localhost"} or not isinstance(name, str):
        return
    try:
        if ipaddress.ip_address(name.partition("%")[0]).is_loopback:
            return
    except ValueError:
        pass
    raise OutsideWorld(f"tests reach loopback only, not {name!r}")
