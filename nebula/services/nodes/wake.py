"""Wakes a machine from here: a magic packet by UDP broadcast."""

import asyncio
import socket

from nebula.errors import InvalidInput, UpstreamUnavailable
from node.protocol import magic_packet

_PORT = 9


async def wake(mac: str, broadcast: str | None = None, port: int = _PORT) -> None:
    """Send the packet; nobody answers it.

    Raises:
        InvalidInput: when that is no MAC address.
        UpstreamUnavailable: when this machine cannot send it.
    """
    try:
        packet = magic_packet(mac)
    except ValueError as error:
        raise InvalidInput(f"{mac[:40]!r} is no MAC address") from error

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sender.sendto(packet, (broadcast or "255.255.255.255", port))

    try:
        await asyncio.to_thread(send)
    except OSError as error:
        raise UpstreamUnavailable(f"The packet could not be sent: {error.strerror}") from error
