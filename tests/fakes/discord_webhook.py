"""Discord's webhook endpoint: remembers what was posted and misbehaves as told."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

Send = Callable[[dict[str, Any]], Awaitable[None]]


class DiscordWebhook:
    """An ASGI app; each entry of `plan` is for one request, then every post succeeds.

    Entries: a status, `(status, body)`, `(status, body, headers)`, or "stall".
    """

    def __init__(self, *, id: str = "1234", token: str = "s3cret-tok_en") -> None:
        self.path = f"/api/webhooks/{id}/{token}"
        self.url = f"https://discord.com{self.path}"
        self.plan: list[Any] = []
        self.posted: list[dict[str, Any]] = []
        self.requests = 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await _body(receive)
        self.requests += 1
        step = self.plan.pop(0) if self.plan else None
        if step == "stall":
            await asyncio.Event().wait()
        if isinstance(step, int):
            step = (step, {"message": "planned", "code": 0})
        if step is not None:
            status, said, *headers = step
            await _answer(send, status, said, headers[0] if headers else {})
            return
        await self._accept(scope, body, send)

    async def _accept(self, scope: dict[str, Any], body: bytes, send: Send) -> None:
        if scope["path"] != self.path:
            await _answer(send, 404, {"message": "Unknown Webhook", "code": 10015})
            return
        payload = json.loads(body)
        embeds = payload.get("embeds", [])
        if not payload.get("content") and not embeds:
            await _answer(send, 400, {"message": "Cannot send an empty message", "code": 50006})
            return
        self.posted.append(payload)
        if parse_qs(scope["query_string"].decode()).get("wait") != ["true"]:
            await _answer(send, 204, None)
            return
        message = {"id": str(9000 + len(self.posted)), "channel_id": "300", "embeds": embeds}
        await _answer(send, 200, message)


async def _body(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        event = await receive()
        body += event.get("body", b"")
        more = event.get("more_body", False)
    return body


async def _answer(
    send: Send, status: int, body: Any, headers: dict[str, str] | None = None
) -> None:
    content = (
        b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    )
    sent = {"content-type": "application/json", **(headers or {})}
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        }
    )
    await send({"type": "http.response.body", "body": content})
