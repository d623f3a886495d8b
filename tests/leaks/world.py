"""Leaks through every door, and what each sink then holds."""

import asyncio
import io
import json
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import structlog
from fastapi import FastAPI
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from psycopg import sql

from api.server import create_server
from nebula.app import App
from nebula.auth.principal import Caller, Role, Surface
from nebula.errors import ApprovalRequired, NebulaError
from nebula.jobs.worker import open_worker
from nebula.log import configure_logging
from nebula.secrets.keys import KEY_FILE
from nebula.settings import Settings
from nebula.tool.audit.export import as_csv, as_jsonl
from nebula.tool.registry import Registry
from tests.api.conftest import opened
from tests.canary import ENCODINGS, found
from tests.fakes.openai import FakeOpenAI
from tests.fakes.scripted import ModelRequest, Policy, Reply, ToolUse
from tests.fakes.serve import serve
from tests.fakes.wire import Wire
from tests.leaks import tools

BY_REFERENCE = "cAn4ry/\"ref'<&+ü %s=1"
UNASKED = "cAn4ry-read-somewhere-éß-2"
TYPED = "cAn4ry typed by a person 3"
HOOK = "json://user:cAn4ry-pass-4@127.0.0.1:1/cAn4ry-path-of-the-hook-4"
CANARIES = {
    "by reference": BY_REFERENCE,
    "unasked": UNASKED,
    "typed": TYPED,
    "address": HOOK,
    "password": "cAn4ry-pass-4",
}
"""What must be found nowhere; the last is a part of the address."""


@dataclass
class Sinks:
    """Everything that came out, by where."""

    texts: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def take(self, sink: str, text: str) -> None:
        """Keep a text."""
        self.texts[sink].append(text)

    def leaks(self) -> dict[str, dict[str, list[str]]]:
        """Return per sink which canaries it holds, in which encodings."""
        return {sink: _held("\n".join(texts)) for sink, texts in self.texts.items()}


def _held(text: str) -> dict[str, list[str]]:
    held = {name: found(secret, text) for name, secret in CANARIES.items()}
    return {name: encodings for name, encodings in held.items() if encodings}


def sizes(sinks: Sinks) -> dict[str, int]:
    """Return the characters that were looked through, by sink."""
    return {sink: sum(map(len, texts)) for sink, texts in sinks.texts.items()}


@dataclass(frozen=True)
class Doors:
    """The whole product, open, with an administrator's key."""

    app: App
    server: FastAPI
    address: str
    key: str
    fake: FakeOpenAI

    def http(self) -> httpx.AsyncClient:
        """Return a client with the key."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.AsyncClient(base_url=self.address, headers=headers, timeout=60)


@asynccontextmanager
async def doors(settings: Settings, wire: Wire, policy: Policy) -> AsyncIterator[Doors]:
    """Open the product with the leaking tools and a model that does as the policy says."""
    fake = FakeOpenAI(policy)
    wire.mount("http://openai.test", fake)
    settings = settings.model_copy(update={"model_large": "openai:gpt-test"})
    registry = Registry([*Registry.discover("tools", "graphs"), *tools.ALL])
    made = create_server(settings, http_transport=wire, registry=registry)
    async with opened(made) as server, _served(server) as address:
        app: App = server.state.doors.app
        user = await app.parts.auth.people.create("ada", Role.ADMIN)
        key = (await app.parts.auth.keys.create(user.id, "k", role=Role.ADMIN)).key
        yield Doors(app, server, address, key, fake)


async def leak(settings: Settings, wire: Wire, sinks: Sinks) -> None:
    """Store the canaries, and let tools leak them over every door."""
    tools.UNASKED[:] = [UNASKED]
    with _logging(sinks):
        async with doors(settings, wire, _obedient) as world:
            app = world.app
            await _store(app)
            caller = Caller(await app.parts.auth.principal_for_user("ada"), Surface.REST)
            await _executor(app, caller, sinks)
            async with world.http() as http, open_worker(app, 2):
                await _rest(http, sinks)
                await _jobs(http, sinks)
                await _chat(http, sinks)
                await _mcp(world.address, world.key, sinks)
                await _look_around(http, sinks)
            for exported in (as_jsonl(app.parts.db), as_csv(app.parts.db)):
                async for piece in exported:
                    sinks.take("audit", piece.decode())
        for request in world.fake.server.requests:
            sinks.take("model requests", json.dumps(request.body, ensure_ascii=False))
            sinks.take("model requests", json.dumps(request.body))


def look_at_rest(settings: Settings, sinks: Sinks) -> None:
    """Read every column of every table, and every file of the data folder but the key."""
    with psycopg.connect(settings.database_url) as connection:
        for schema, table, column in _columns(connection):
            if column == "sealed" or column.endswith("_sealed"):
                continue
            names = map(sql.Identifier, (column, schema, table))
            query = sql.SQL("SELECT {} FROM {}.{}").format(*names)
            kind = "checkpoints" if schema == "langgraph" else "database"
            for (value,) in connection.execute(query):
                sinks.take(kind, _as_text(value))
    for file in Path(settings.home).rglob("*"):
        sinks.take("data folder", str(file))
        if file.is_file() and file.name != KEY_FILE:
            sinks.take("data folder", file.read_bytes().decode("latin-1"))
            sinks.take("data folder", file.read_bytes().decode("utf-8", "replace"))


def _columns(connection: "psycopg.Connection[Any]") -> list[tuple[str, str, str]]:
    return connection.execute(
        "SELECT table_schema, table_name, column_name FROM information_schema.columns "
        "JOIN information_schema.tables USING (table_schema, table_name) "
        "WHERE table_type = 'BASE TABLE' "
        "AND table_schema NOT IN ('pg_catalog', 'information_schema')"
    ).fetchall()


def _as_text(value: Any) -> str:
    if isinstance(value, bytes | memoryview):
        raw = bytes(value)
        return raw.decode("utf-8", "replace") + "\n" + raw.decode("latin-1")
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


async def _store(app: App) -> None:
    for name, value in (("canary", BY_REFERENCE), ("unasked", UNASKED), ("typed", TYPED)):
        await app.parts.secrets.put(name, value, by="ada", features=["leak"])
    await app.parts.secrets.put("hook", HOOK, by="ada")


async def _executor(app: App, caller: Caller, sinks: Sinks) -> None:
    async def run(tool: str, call_id: str, **arguments: Any) -> None:
        try:
            result = await app.executor.execute(tool, arguments, caller=caller, call_id=call_id)
        except ApprovalRequired as waiting:
            card = await app.parts.approvals.decide(
                waiting.approval_id,
                decision="approve",
                by=caller.principal,
                surface=Surface.REST,
                comment=f"fine, the code is {TYPED}",
            )
            sinks.take("approvals", card.model_dump_json())
            await run(tool, call_id, **arguments)
        except NebulaError as error:
            sinks.take("errors", json.dumps(error.payload(), ensure_ascii=False) + repr(error))
        else:
            sinks.take("results", result.model_dump_json())
            sinks.take("results", repr(result) + repr(list(result.render())))

    for how in tools.HOWS:
        await run("leak_token", f"e-{how}", token="Bearer secret://canary", how=how)
    await run("leak_for_good", "e-good", token="secret://canary")
    await run("leak_token", "e-plain", token=BY_REFERENCE)
    for name, encode in ENCODINGS.items():
        await run("notify_send", f"e-carry-{name}", message=f"take {encode(BY_REFERENCE)}")
    await run("notify_send", "e-misplaced", message="take secret://canary")
    await run("notify_set_channel", "e-hook", name="hook", address="secret://hook")
    await run("notify_send", "e-send", message="hello", channels=["hook"])


async def _rest(http: httpx.AsyncClient, sinks: Sinks) -> None:
    given: list[dict[str, object]] = [
        {"token": "secret://canary", "how": how} for how in tools.HOWS
    ]
    for body in (*given, {"token": TYPED}, {"token": "x", TYPED: 1}, {"how": "secret://canary"}):
        await _kept(sinks, "http", http.post("/api/tools/leak_token", json=body))
    await _kept(
        sinks, "http", http.post("/api/tools/leak_for_good", json={"token": "secret://canary"})
    )


async def _jobs(http: httpx.AsyncClient, sinks: Sinks) -> None:
    for how in ("return", "raise", "bug", "progress"):
        body = {"token": "secret://canary", "how": how}
        answer = await _kept(sinks, "jobs", http.post("/api/tools/leak_slowly", json=body))
        job = answer.json()["job_id"]
        async with http.stream("GET", f"/api/jobs/{job}/events") as events:
            async for piece in events.aiter_text():
                sinks.take("event streams", piece)
        await _kept(sinks, "jobs", http.get(f"/api/jobs/{job}"))


async def _chat(http: httpx.AsyncClient, sinks: Sinks) -> None:
    session = None
    for how in ("return", "raise", "progress", "event"):
        said = f"leak the token secret://canary by {how}; by the way, it is {TYPED}"
        body = {"message": said, "session_id": session}
        async with http.stream("POST", "/api/jarvis/chat", json=body) as answer:
            whole = "".join([piece async for piece in answer.aiter_text()])
        sinks.take("event streams", whole)
        assert answer.status_code == 200, whole
        session = (
            session or json.loads(whole.partition("data: ")[2].partition("\n")[0])["session_id"]
        )
    await _kept(sinks, "http", http.get(f"/api/sessions/{session}/messages"))


async def _mcp(address: str, key: str, sinks: Sinks) -> None:
    async def progress(done: float, total: float | None, message: str | None) -> None:
        sinks.take("mcp", message or "")

    headers = {"Authorization": f"Bearer {key}"}
    transport = StreamableHttpTransport(f"{address}/mcp", headers=headers)
    async with Client(transport, progress_handler=progress) as client:
        for how in tools.HOWS:
            arguments = {"token": "secret://canary", "how": how}
            answer = await client.call_tool("leak_look", arguments, raise_on_error=False)
            sinks.take("mcp", repr(answer))


async def _look_around(http: httpx.AsyncClient, sinks: Sinks) -> None:
    """Ask for everything that can be asked for without knowing an id."""
    paths = (await http.get("/api/openapi.json")).json()["paths"]
    for path, methods in paths.items():
        if "get" in methods and "{" not in path and not path.endswith("/events"):
            await _kept(sinks, "http", http.get(path))
    await _kept(sinks, "metrics", http.get("/metrics"))


async def _kept(sinks: Sinks, sink: str, asking: Any) -> httpx.Response:
    answer: httpx.Response = await asking
    sinks.take(sink, f"{answer.headers}\n{answer.text}")
    return answer


def _obedient(request: ModelRequest) -> Reply:
    """Call the leaking tool as the person said, and repeat all that came of it."""
    last = request.messages[-1]
    if last["role"] == "tool":
        return Reply(pieces=(f"It said: {last['content']}",))
    words = str(last["content"]).split(";")[0].split()
    if "leak_token" not in request.tools or "by" not in words:
        return Reply(pieces=("I can not.",))
    how = words[words.index("by") + 1]
    return Reply(calls=(ToolUse("leak_token", {"token": "secret://canary", "how": how}),))


@contextmanager
def _logging(sinks: Sinks) -> Iterator[None]:
    """Log everything as the program does, both ways."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    drawn, lines = io.StringIO(), io.StringIO()
    configure_logging("console", "DEBUG", stream=drawn)
    console = root.handlers[0]
    configure_logging("json", "DEBUG", stream=lines)
    root.addHandler(console)
    try:
        yield
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        structlog.reset_defaults()
        sinks.take("log", drawn.getvalue())
        sinks.take("log", lines.getvalue())


@asynccontextmanager
async def _served(server: FastAPI) -> AsyncIterator[str]:
    """Serve open doors on a loopback port; their lifespan runs already."""

    async def doors(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        await server(scope, receive, send)

    async with serve(doors) as address:
        yield address


def run(settings: Settings, wire: Wire) -> Sinks:
    """Leak over every door, then read what is at rest."""
    sinks = Sinks()
    asyncio.run(leak(settings, wire, sinks))
    look_at_rest(settings, sinks)
    return sinks
