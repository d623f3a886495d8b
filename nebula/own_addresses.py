"""The addresses of this machine itself."""

import ipaddress
import socket
from contextlib import suppress

import psutil

from nebula.addresses import Address


def own_addresses() -> frozenset[Address]:
    """Return what the machine's interfaces answer to: a public address of ours leads inside too."""
    found: set[Address] = set()
    for entries in psutil.net_if_addrs().values():
        for entry in entries:
            if entry.family in {socket.AF_INET, socket.AF_INET6}:
                with suppress(ValueError):
                    found.add(ipaddress.ip_address(entry.address.partition("%")[0]))
    return frozenset(found)
