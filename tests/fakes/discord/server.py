"""Discord's REST, as far as a bot that talks and asks needs it; it counts, limits and refuses."""

import asyncio
import json
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import discord
import yarl
from aiohttp import web

from tests.fakes.discord import payloads
from tests.fakes.discord.community import Community
from tests.fakes.discord.gateway import Gateway
from tests.fakes.discord.payloads import Doc, as_json

TOKEN = "fake.bot.token"
_EPOCH_MS = 1_420_070_400_000


@dataclass
class Seen:
    """A message as the server keeps it."""

    doc: Doc
    files: dict[str, bytes] = field(default_factory=dict)
    edits: list[tuple[float, str]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return str(self.doc["content"])

    @property
    def buttons(self) -> list[str]:
        rows = self.doc.get("components") or []
        return [part["custom_id"] for row in rows for part in row.get("components", [])]


class FakeDiscord:
    """The state of a small Discord: one server, its channels, people, and the bot."""

    def __init__(self) -> None:
        self.gateway = Gateway(TOKEN)
        self.channels: dict[str, Doc] = {
            payloads.GENERAL: payloads.channel(payloads.GENERAL, "general"),
            payloads.QUIET: payloads.channel(payloads.QUIET, "quiet"),
        }
        self.roles = [
            payloads.role(payloads.CREW, "crew", 1),
            payloads.role(payloads.HELPERS, "helpers", 2, str(1 << 13)),
            payloads.role(payloads.BOT_ROLE, "jarvis", 10, payloads.BOT_PERMISSIONS),
            payloads.role(payloads.CHIEFS, "chiefs", 20),
        ]
        self.community = Community(self)
        self.messages: dict[str, Seen] = {}
        self.order: list[str] = []
        self.requests: list[tuple[str, str]] = []
        self.commands: list[Doc] = []
        self.command_syncs = 0
        self.typing: list[str] = []
        self.callbacks: dict[str, Doc] = {}
        self.replies: dict[str, str] = {}
        """Interaction token → the message that is its reply."""
        self.whispers: list[tuple[str, str]] = []
        self.too_many: list[str] = []
        self.refuse_edits = 0
        """So many edits in future are answered 429."""
        self.no_threads = False
        self.edits_per_window, self.window = 5, 5.0
        self.files: dict[str, bytes] = {}
        self._nonces: dict[str, str] = {}
        self._edited: defaultdict[str, deque[float]] = defaultdict(deque)
        self._last_id = 0
        self._changed = asyncio.Event()
        self.url = ""

    def new_id(self) -> str:
        """Return a snowflake of this moment."""
        now = (int(time.time() * 1000) - _EPOCH_MS) << 22
        self._last_id = max(now, self._last_id + 1)
        return str(self._last_id)

    def put(self, channel_id: str, author: Doc, content: str, **more: Any) -> Seen:
        """Keep a message."""
        files = more.pop("files", {})
        doc = payloads.message(self.new_id(), channel_id, author, content, **more)
        doc["timestamp"] = datetime.now(UTC).isoformat()
        if (channel := self.channels.get(channel_id)) is not None and "guild_id" in channel:
            doc["guild_id"] = payloads.GUILD
        for name, content_of in files.items():
            key = f"/files/{doc['id']}/{name}"
            self.files[key] = content_of
            doc["attachments"].append(
                {
                    "id": self.new_id(),
                    "filename": name,
                    "size": len(content_of),
                    "url": self.url + key,
                    "proxy_url": self.url + key,
                }
            )
        seen = Seen(doc, files=dict(files))
        self.messages[doc["id"]] = seen
        self.order.append(doc["id"])
        self.notice()
        return seen

    def delete(self, seen: Seen) -> None:
        """Let somebody delete a message."""
        self.messages.pop(seen.doc["id"])
        self.order.remove(seen.doc["id"])

    def notice(self) -> None:
        """Wake whoever waits for something to become true."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, true: Callable[[], Any], seconds: float = 10.0) -> Any:
        """Wait until something is true here, and return it."""
        async with asyncio.timeout(seconds):
            while not (found := true()):
                waiting = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait([waiting], timeout=0.05)
                waiting.cancel()
        return found

    def by_bot(self, channel_id: str | None = None) -> list[Seen]:
        """Return what the bot wrote, in order."""
        return [
            seen
            for key in self.order
            if (seen := self.messages[key]).doc["author"]["id"] == payloads.BOT
            and channel_id in {None, seen.doc["channel_id"]}
        ]

    # REST

    async def handle(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix("/api/v10")
        self.requests.append((request.method, path))
        parts = path.strip("/").split("/")
        open_to_all = parts[0] in {"interactions", "webhooks"}
        if not open_to_all and request.headers.get("Authorization") != f"Bot {TOKEN}":
            return as_json({"message": "401: Unauthorized", "code": 0}, 401)
        body, files = await _body(request)
        answer = self.community.misbehaving(request.method, parts)
        answer = answer or self.community.route(request, parts, body)
        answer = answer or await self._route(request, parts, body, files)
        self.notice()
        return answer

    async def _route(  # noqa: C901 - one case per route reads best
        self, request: web.Request, parts: list[str], body: Any, files: dict[str, bytes]
    ) -> web.Response:
        match (request.method, *parts):
            case ("GET", "users", "@me"):
                return as_json(payloads.user(payloads.BOT, "jarvis", bot=True))
            case ("POST", "users", "@me", "channels"):
                return as_json(self.channels[f"7{body['recipient_id']}"])
            case ("GET", "oauth2" | "applications", *_):
                return as_json(payloads.application())
            case ("PUT", "applications", _, "commands"):
                return self._commands(body)
            case ("GET", "channels", channel_id) if channel_id in self.channels:
                return as_json(self.channels[channel_id])
            case ("POST", "channels", channel_id, "typing"):
                self.typing.append(channel_id)
                return web.Response(status=204)
            case ("GET", "channels", channel_id, "messages"):
                return self._history(channel_id, request.query)
            case ("POST", "channels", channel_id, "messages"):
                return self._post(channel_id, body, files)
            case ("PATCH", "channels", _, "messages", message_id):
                return await self._edit(message_id, body)
            case ("POST", "channels", channel_id, "messages", message_id, "threads"):
                return await self._thread(channel_id, message_id, body)
            case ("POST", "interactions", interaction_id, _token, "callback"):
                return self._callback(interaction_id, _token, body, request)
            case ("PATCH", "webhooks", _, token, "messages", message_id):
                return await self._edit_reply(token, message_id, body, files)
            case ("POST", "webhooks", _, token):
                return self._followup(token, body, files)
        return as_json({"message": "404: Not Found", "code": 10003}, 404)

    def _commands(self, body: list[Doc]) -> web.Response:
        assert len(body) <= 100
        self.command_syncs += 1
        self.commands = [{**c, "id": self.new_id(), "application_id": "100"} for c in body]
        return as_json([{**c, "version": "1"} for c in self.commands])

    def _history(self, channel_id: str, query: Any) -> web.Response:
        after, before = int(query.get("after", 0)), int(query.get("before", 2**63))
        found = [
            self.messages[key].doc
            for key in self.order
            if self.messages[key].doc["channel_id"] == channel_id and after < int(key) < before
        ]
        most = int(query.get("limit", 50))
        chosen = found[:most] if "after" in query else found[-most:]
        return as_json(list(reversed(chosen)))

    def _post(self, channel_id: str, body: Doc, files: dict[str, bytes]) -> web.Response:
        if channel_id not in self.channels:
            return as_json({"message": "Unknown Channel", "code": 10003}, 404)
        if len(body.get("content") or "") > 2000:
            return as_json({"message": "Invalid Form Body", "code": 50035}, 400)
        if body.get("enforce_nonce") and (known := self._nonces.get(body["nonce"])):
            return as_json(self.messages[known].doc)
        seen = self._by_bot(channel_id, body, files)
        if body.get("nonce"):
            self._nonces[body["nonce"]] = seen.doc["id"]
        return as_json(seen.doc)

    def _by_bot(self, channel_id: str, body: Doc, files: dict[str, bytes]) -> Seen:
        kept = ("components", "flags", "allowed_mentions", "message_reference")
        more = {key: body[key] for key in kept if body.get(key) is not None}
        if body.get("poll") is not None:
            more["poll"] = self.community.poll(body["poll"])
        author = payloads.user(payloads.BOT, "jarvis", bot=True)
        return self.put(channel_id, author, body.get("content") or "", files=files, **more)

    async def _edit(self, message_id: str, body: Doc) -> web.Response:
        seen = self.messages.get(message_id)
        if seen is None:
            return as_json({"message": "Unknown Message", "code": 10008}, 404)
        wait = self._limited(message_id)
        if wait is not None:
            self.too_many.append(message_id)
            said = {"message": "You are being rate limited.", "retry_after": wait, "global": False}
            return as_json(said, 429, {"Via": "1.1 fake", "Retry-After": str(wait)})
        return self._changed_to(seen, body)

    def _changed_to(self, seen: Seen, body: Doc) -> web.Response:
        if len(body.get("content") or "") > 2000:
            return as_json({"message": "Invalid Form Body", "code": 50035}, 400)
        for key in ("content", "components"):
            if key in body:
                seen.doc[key] = body[key] if body[key] is not None else ""
        seen.edits.append((time.monotonic(), seen.text))
        return as_json(seen.doc)

    def _limited(self, message_id: str) -> float | None:
        if self.refuse_edits > 0:
            self.refuse_edits -= 1
            return 0.05
        now, edited = time.monotonic(), self._edited[message_id]
        while edited and edited[0] < now - self.window:
            edited.popleft()
        if len(edited) >= self.edits_per_window:
            return edited[0] + self.window - now
        edited.append(now)
        return None

    async def _thread(self, channel_id: str, message_id: str, body: Doc) -> web.Response:
        if self.no_threads:
            return as_json({"message": "Missing Permissions", "code": 50013}, 403)
        if message_id in self.channels:
            return as_json({"message": "A thread has already been created", "code": 160004}, 400)
        made = payloads.thread(message_id, channel_id, body["name"], payloads.BOT)
        self.channels[message_id] = made
        await self.gateway.dispatch("THREAD_CREATE", {**made, "newly_created": True})
        return as_json(made)

    def _callback(
        self, interaction_id: str, token: str, body: Doc, request: web.Request
    ) -> web.Response:
        if interaction_id in self.callbacks:
            return as_json({"message": "Already acknowledged.", "code": 40060}, 400)
        self.callbacks[interaction_id] = body
        data = body.get("data") or {}
        seen = self.replies.get(token)
        if body["type"] == 4 and data.get("flags", 0) & 64:
            self.whispers.append((token, data["content"]))
        if body["type"] == 7 and seen is not None:
            self._changed_to(self.messages[seen], data)
        if "with_response" not in request.query:
            return web.Response(status=204)
        shown = payloads.message(seen or self.new_id(), payloads.GENERAL, _BOT, "")
        about = {"id": interaction_id, "type": 2, "response_message_loading": False}
        about |= {"response_message_ephemeral": False, "response_message_id": shown["id"]}
        return as_json({"interaction": about, "resource": {"type": body["type"], "message": shown}})

    async def _edit_reply(
        self, token: str, message_id: str, body: Doc, files: dict[str, bytes]
    ) -> web.Response:
        if message_id != "@original":
            return await self._edit(message_id, body)
        if (known := self.replies.get(token)) is not None:
            return await self._edit(known, body)
        channel_id = token.partition("@")[2] or payloads.GENERAL
        seen = self._by_bot(channel_id, body, files)
        self.replies[token] = seen.doc["id"]
        return as_json(seen.doc)

    def _followup(self, token: str, body: Doc, files: dict[str, bytes]) -> web.Response:
        if body.get("flags", 0) & 64:
            self.whispers.append((token, body["content"]))
            return as_json(payloads.message(self.new_id(), payloads.GENERAL, _BOT, body["content"]))
        channel_id = token.partition("@")[2] or payloads.GENERAL
        return as_json(self._by_bot(channel_id, body, files).doc)

    async def file(self, request: web.Request) -> web.Response:
        """Serve an attachment."""
        return web.Response(body=self.files[request.path])


_BOT = payloads.user(payloads.BOT, "jarvis", bot=True)


async def _body(request: web.Request) -> tuple[Any, dict[str, bytes]]:
    if not request.content_type.startswith("multipart/"):
        return (await request.json() if request.can_read_body else {}), {}
    form = await request.post()
    files = {v.filename: v.file.read() for v in form.values() if isinstance(v, web.FileField)}
    return json.loads(str(form.get("payload_json", "{}"))), files


@asynccontextmanager
async def fake_discord() -> AsyncIterator[FakeDiscord]:
    """Serve a Discord on loopback, and let discord.py take it for the real one."""
    fake = FakeDiscord()
    app = web.Application(client_max_size=32 << 20)
    app.router.add_get("/gateway", fake.gateway.handle)
    app.router.add_get("/gateway/", fake.gateway.handle)
    app.router.add_get("/files/{rest:.*}", fake.file)
    app.router.add_route("*", "/api/v10/{rest:.*}", fake.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    fake.url = f"http://127.0.0.1:{port}"
    fake.gateway.guild = payloads.guild(list(fake.channels.values()), fake.roles)
    before = discord.http.Route.BASE, discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY
    discord.http.Route.BASE = f"{fake.url}/api/v10"
    discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(f"ws://127.0.0.1:{port}/gateway")
    try:
        yield fake
    finally:
        discord.http.Route.BASE, discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = before
        await runner.cleanup()
