"""The whole product over a real database, with people, programs, and a vault to attack."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from fastapi import FastAPI
from sqlalchemy import text

from api.server import create_server
from benchmarks.approvals import vault
from nebula.app import App, open_app
from nebula.auth.principal import Caller, Principal, Role, Surface
from nebula.errors import ApprovalRequired, NebulaError
from nebula.policy.labels import Label
from nebula.settings import Settings
from nebula.tool.definition import AnyTool
from nebula.tool.registry import Registry
from tests.graphs import lab

SITE = "http://jarvis.test"
TAINTED = frozenset({Label.USER, Label.OUTSIDE})


@dataclass
class World:
    """What a vector may use."""

    settings: Settings
    server: FastAPI
    ada: Principal
    bob: Principal
    vic: Principal
    tokens: dict[str, str]
    keys: dict[str, str]
    expected: list[str] = field(default_factory=list)
    """What may run, once each."""
    _count: int = 0

    @property
    def app(self) -> App:
        found = self.server.state.doors.app
        assert isinstance(found, App)
        return found

    def caller(self, who: Principal | None = None, **more: Any) -> Caller:
        """Return somebody (ada) at the chat, as a model acts for them."""
        plain = Caller(who or self.ada, Surface.CHAT, session_id="s1", by_model=True)
        return replace(plain, **more)

    def new_id(self) -> str:
        """Return a call id nobody has used."""
        self._count += 1
        return f"vector-{self._count}-{id(self)}"

    async def run(
        self,
        call_id: str,
        arguments: dict[str, Any] | bytes,
        *,
        caller: Caller | None = None,
        tool: str = "vault_burn",
        app: App | None = None,
    ) -> str:
        """Make a call; return the approval's id when it waits, else what came of it."""
        executor = (app or self.app).executor
        try:
            await executor.execute(tool, arguments, caller=caller or self.caller(), call_id=call_id)
        except ApprovalRequired as waiting:
            return waiting.approval_id
        except NebulaError as error:
            return error.code
        return "ran"

    async def ask(self, name: str = "x", **more: Any) -> tuple[str, str]:
        """Make a call that waits; return its call id and its approval's."""
        caller, tool = more.pop("caller", None), more.pop("tool", "vault_burn")
        call_id = self.new_id()
        asked = await self.run(call_id, {"name": name} | more, caller=caller, tool=tool)
        assert asked.startswith("apr_"), f"it did not ask: {asked}"
        return call_id, asked

    async def answer(
        self,
        approval_id: str,
        decision: Any = "approve",
        *,
        by: Principal | None = None,
        surface: Surface = Surface.CHAT,
        comment: str = "",
    ) -> str:
        """Give an answer; return the state, or the code of the refusal."""
        try:
            done = await self.app.parts.approvals.decide(
                approval_id, decision=decision, by=by or self.ada, surface=surface, comment=comment
            )
        except NebulaError as error:
            return error.code
        return done.state

    async def approved(self, name: str = "x", **more: Any) -> str:
        """Ask, let ada approve, and return the call id."""
        call_id, approval_id = await self.ask(name, **more)
        assert await self.answer(approval_id) == "approved"
        return call_id

    async def sql(self, statement: str, **values: Any) -> None:
        """Change rows, as somebody with the database at hand could."""
        async with self.app.parts.db.session() as session:
            await session.execute(text(statement), values)

    @asynccontextmanager
    async def bob_locked_out(self) -> AsyncIterator[None]:
        """Lock bob's account for a while; afterwards he signs in anew."""
        auth = self.app.parts.auth
        await auth.people.update("bob", enabled=False)
        try:
            yield
        finally:
            await auth.people.update("bob", enabled=True)
            login = await auth.logins.open(self.bob.id)
            self.bob, self.tokens["bob"] = login.principal, login.token

    @asynccontextmanager
    async def restarted(
        self, registry: Registry | None = None, **changed: Any
    ) -> AsyncIterator[App]:
        """Open the program once more over the same database."""
        settings = self.settings.model_copy(update=changed)
        async with open_app(settings, registry=registry or Registry(vault.ALL)) as app:
            yield app

    @asynccontextmanager
    async def browser(self, name: str, origin: str = SITE) -> AsyncIterator[httpx.AsyncClient]:
        """Ask over REST as somebody signed in."""
        async with self._client(
            headers={"Origin": origin}, cookies={"jarvis_session": self.tokens[name]}
        ) as http:
            yield http

    @asynccontextmanager
    async def program(self, name: str) -> AsyncIterator[httpx.AsyncClient]:
        """Ask over REST with somebody's API key."""
        headers = {"Authorization": f"Bearer {self.keys[name]}"}
        async with self._client(headers=headers) as http:
            yield http

    def _client(self, **more: Any) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.server)
        return httpx.AsyncClient(transport=transport, base_url=SITE, **more)


@asynccontextmanager
async def open_world(settings: Settings) -> AsyncIterator[World]:
    """Serve the vault, and let three people in: two administrators and a viewer."""
    found = Registry.discover("tools", "graphs")
    # Its own Jarvis may take up what waits in the threads' vectors, as any process may.
    tools: list[AnyTool] = [*found, *vault.ALL, *lab.ALL]
    server = create_server(settings, registry=Registry(tools, found.about))
    async with _living(server):
        auth = server.state.doors.app.parts.auth
        tokens, keys, people = {}, {}, {}
        for name, role in (("ada", Role.ADMIN), ("bob", Role.ADMIN), ("vic", Role.VIEWER)):
            user = await auth.people.create(name, role)
            login = await auth.logins.open(user.id)
            tokens[name], people[name] = login.token, login.principal
            keys[name] = (await auth.keys.create(user.id, "program", role=role)).key
        yield World(settings, server, **people, tokens=tokens, keys=keys)


@asynccontextmanager
async def _living(server: FastAPI) -> AsyncIterator[None]:
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def live() -> None:
        async with server.router.lifespan_context(server):
            ready.set_result(None)
            await done.wait()

    task = asyncio.create_task(live())
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    try:
        yield
    finally:
        done.set()
        await task
