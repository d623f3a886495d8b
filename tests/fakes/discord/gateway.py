"""The gateway: HELLO, IDENTIFY, RESUME with replay, heartbeats, and ways to misbehave."""

import asyncio
import itertools
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tests.fakes.discord import payloads
from tests.fakes.discord.payloads import Doc

MEMBERS = 1 << 1

_HELLO, _BEAT, _IDENTIFY, _RESUME, _RECONNECT, _INVALID, _ACK = 10, 1, 2, 6, 7, 9, 11


@dataclass
class Gateway:
    """One bot's connection; what is dispatched while it is away is replayed by RESUME."""

    token: str
    guild: Doc = field(default_factory=dict)
    heartbeat_ms: int = 41_250
    deaf: bool = False
    """Heartbeats are not answered: the connection looks alive and is dead."""
    bad_intents: bool = False
    no_members: bool = False
    """“Server Members Intent” is switched off in the portal."""
    forgets: bool = False
    """Sessions are not resumed."""
    identified: int = 0
    resumed: int = 0
    beats: int = 0
    intents: int = 0
    log: list[int] = field(default_factory=list)
    sent: list[Doc] = field(default_factory=list)
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    _socket: web.WebSocketResponse | None = None
    _others: list[web.WebSocketResponse] = field(default_factory=list)
    """Earlier connections with the same token that are still open: they hear everything too."""
    _session: str = ""
    _sessions: Any = field(default_factory=lambda: itertools.count(1))

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await self._send(socket, _HELLO, {"heartbeat_interval": self.heartbeat_ms})
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            said = json.loads(message.data)
            self.log.append(said["op"])
            await self._heard(socket, request, said)
        if self._socket is socket:
            self._gone()
        if socket in self._others:
            self._others.remove(socket)
        return socket

    async def dispatch(self, kind: str, data: Doc) -> None:
        """Send an event, or keep it for the next RESUME."""
        event = {"op": 0, "s": len(self.sent) + 1, "t": kind, "d": data}
        self.sent.append(event)
        for socket in (*self._others, self._socket):
            if socket is not None and not socket.closed:
                await socket.send_json(event)

    async def drop(self) -> None:
        """Cut the connection without a word."""
        socket = self._socket
        self._gone()
        if socket is not None and socket._req is not None and socket._req.transport is not None:
            socket._req.transport.abort()

    async def close(self, code: int) -> None:
        """Close with one of Discord's codes."""
        socket = self._socket
        self._gone()
        if socket is not None:
            await socket.close(code=code)

    async def ask_to_reconnect(self) -> None:
        """Say op 7, as Discord does when it moves a connection."""
        assert self._socket is not None
        await self._send(self._socket, _RECONNECT, None)

    def _gone(self) -> None:
        self._socket = None
        self.connected.clear()

    async def _heard(self, socket: web.WebSocketResponse, request: web.Request, said: Doc) -> None:
        match said["op"]:
            case 1:
                self.beats += 1
                if not self.deaf:
                    await self._send(socket, _ACK, None)
            case 2:
                await self._identify(socket, request, said["d"])
            case 6:
                await self._resume(socket, said["d"])

    async def _identify(self, socket: web.WebSocketResponse, request: web.Request, d: Doc) -> None:
        if d["token"] != self.token:
            await socket.close(code=4004)
            return
        if self.bad_intents or (self.no_members and d["intents"] & MEMBERS):
            await socket.close(code=4014)
            return
        self.identified += 1
        self.intents = d["intents"]
        if self._socket is not None:
            self._others.append(self._socket)
            self._socket = None
        self._session, self.sent = f"session-{next(self._sessions)}", []
        self._socket = socket
        ready = {
            "v": 10,
            "user": payloads.user(payloads.BOT, "jarvis", bot=True),
            "guilds": [{"id": payloads.GUILD, "unavailable": True}],
            "session_id": self._session,
            "resume_gateway_url": f"ws://{request.host}/gateway",
            "application": {"id": payloads.BOT, "flags": payloads.application()["flags"]},
            "private_channels": [],
            "relationships": [],
            "shard": [0, 1],
        }
        before, self._others = self._others, []
        await self.dispatch("READY", ready)
        await self.dispatch("GUILD_CREATE", self.guild)
        self._others = before
        self.connected.set()

    async def _resume(self, socket: web.WebSocketResponse, d: Doc) -> None:
        if self.forgets or d["session_id"] != self._session:
            self._session = ""
            await self._send(socket, _INVALID, False)
            return
        self.resumed += 1
        for event in self.sent[d["seq"] :]:
            await socket.send_json(event)
        self._socket = socket
        await self.dispatch("RESUMED", {})
        self.connected.set()

    async def _send(self, socket: web.WebSocketResponse, op: int, data: Any) -> None:
        await socket.send_json({"op": op, "s": None, "t": None, "d": data})
