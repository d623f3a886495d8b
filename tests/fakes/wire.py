"""The network of a test: ASGI apps mounted under addresses, and nothing else answers."""

from typing import Any

import httpx


class Wire(httpx.AsyncBaseTransport):
    """Routes requests to mounted ASGI apps; any other address refuses the connection.

    Replies are delivered whole. A fake that streams or stalls listens on a loopback port.
    """

    def __init__(self) -> None:
        self._apps: dict[str, httpx.AsyncBaseTransport] = {}
        self.requests: list[httpx.Request] = []

    def mount(self, address: str, app: Any) -> None:
        """Answer at `scheme://host[:port]` with an ASGI app or another transport."""
        transport = app if isinstance(app, httpx.AsyncBaseTransport) else httpx.ASGITransport(app)
        self._apps[_origin(httpx.URL(address))] = transport

    def unmount(self, address: str) -> None:
        """Refuse connections to an address from now on."""
        self._apps.pop(_origin(httpx.URL(address)), None)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        transport = self._apps.get(_origin(request.url))
        if transport is None:
            refused = ConnectionRefusedError(111, "Connection refused")
            raise httpx.ConnectError("Connection refused", request=request) from refused
        return await transport.handle_async_request(request)


def _origin(url: httpx.URL) -> str:
    port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    return f"{url.scheme}://{url.host}:{port}"
