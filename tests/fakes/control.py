"""A control plane that speaks to node agents, and can be silent, slow, rude or an impostor."""

import asyncio
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from node.protocol import digest, proof


class FakeControl:
    """Mount `app` on a port; set `leases`, `status`, `stall`, `impostor` to make it misbehave."""

    def __init__(self) -> None:
        self.tokens = {"good"}
        self.secret, self.key = "secret-of-the-node", "key-of-the-control-plane"
        self.leases: list[dict[str, Any]] = []
        self.interval = 0.1
        self.status = 200
        self.stall = 0.0
        self.impostor = False
        self.joins: list[dict[str, Any]] = []
        self.beats: list[dict[str, Any]] = []
        self.beaten = asyncio.Event()
        self.app = Starlette(
            routes=[
                Route("/api/nodes/join", self._join, methods=["POST"]),
                Route("/api/nodes/{name}/heartbeat", self._heartbeat, methods=["POST"]),
            ]
        )

    async def _join(self, request: Request) -> Response:
        document = await request.json()
        if document["token"] not in self.tokens:
            body = {"code": "not_authenticated", "detail": "This join token is used", "hint": ""}
            return JSONResponse(body, 401)
        self.tokens.discard(document["token"])
        self.joins.append(document)
        given = {"node": document["name"], "secret": self.secret, "key": self.key}
        return JSONResponse(given)

    async def _heartbeat(self, request: Request) -> Response:
        document = await request.json()
        await asyncio.sleep(self.stall)
        if request.headers["authorization"] != f"Bearer {self.secret}":
            return JSONResponse({"code": "not_authenticated", "detail": "wrong secret"}, 401)
        if self.status != 200:
            return JSONResponse({"code": "upstream_unavailable", "detail": "down"}, self.status)
        self.beats.append(document)
        self.beaten.set()
        key = "somebody else's" if self.impostor else self.key
        return JSONResponse(
            {
                "proof": proof(digest(key), document["nonce"]),
                "leases": self.leases,
                "interval": self.interval,
            }
        )

    async def beat(self) -> dict[str, Any]:
        """Wait for the next heartbeat that is answered."""
        self.beaten.clear()
        await asyncio.wait_for(self.beaten.wait(), 15)
        return self.beats[-1]
