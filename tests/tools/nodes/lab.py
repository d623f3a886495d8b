"""A control plane served on a loopback port, and real agents that joined it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from api.server import create_server
from nebula.app import App
from nebula.auth.principal import Caller, Principal, Surface
from nebula.errors import ApprovalRequired
from nebula.jobs.job import Job, JobHandle
from nebula.services.nodes.node import NodeHealth
from nebula.settings import Settings
from tests.api.conftest import opened
from tests.fakes.serve import serve
from tests.node.agent import AgentProcess

MAP = "nodes: [{name: here}]\n"


class Lab:
    """The open control plane and what belongs to it."""

    def __init__(self, server: FastAPI, url: str, folder: Path) -> None:
        self.server = server
        self.url = url
        self.folder = folder
        self.agents: list[AgentProcess] = []
        self._count = 0

    @property
    def app(self) -> App:
        found = self.server.state.doors.app
        assert isinstance(found, App)
        return found

    async def agent(
        self, name: str = "pc", *, card: int = 0, words: Sequence[str] = (), **config: Any
    ) -> AgentProcess:
        """Join a machine with a fresh token, and wait until it was heard."""
        agent = AgentProcess(self.folder / name, self.url, name=name)
        if card:
            agent.insert_card(card)
        self.agents.append(agent)
        agent.configure(**config)
        token = await self.app.parts.nodes.create_token("admin")
        code, said = await agent.join(token.token, *words)
        assert code == 0, said
        await agent.start()
        await self.health(name, NodeHealth.ONLINE)
        return agent

    async def health(self, name: str, wanted: NodeHealth, seconds: float = 20) -> None:
        async with asyncio.timeout(seconds):
            while await self.app.parts.nodes.health(name) is not wanted:
                await asyncio.sleep(0.02)

    async def call(self, who: Principal, tool: str, /, **arguments: Any) -> Any:
        """Call a tool as a person at the REST door does."""
        self._count += 1
        call_id = f"call-{self._count}"
        caller = Caller(who, Surface.REST)
        return await self.app.executor.execute(tool, arguments, caller=caller, call_id=call_id)

    async def approved(self, who: Principal, tool: str, /, **arguments: Any) -> Any:
        """Call a tool, approve it, and call it again."""
        self._count += 1
        call_id, caller = f"call-{self._count}", Caller(who, Surface.REST)
        run = self.app.executor.execute
        with pytest.raises(ApprovalRequired) as waiting:
            await run(tool, arguments, caller=caller, call_id=call_id)
        await self.app.parts.approvals.decide(
            waiting.value.approval_id, decision="approve", by=who, surface=Surface.TERMINAL
        )
        return await run(tool, arguments, caller=caller, call_id=call_id)

    async def job(self, who: Principal, tool: str, /, **arguments: Any) -> Job:
        """Start a job that needs approval, and wait for its end."""
        handle = await self.approved(who, tool, **arguments)
        assert isinstance(handle, JobHandle)
        return await self.app.parts.jobs.wait(handle.job_id, who, 60)

    async def log(self, who: Principal, job: str) -> list[str]:
        return [line.text for line in await self.app.parts.jobs.log(job, who)]


@asynccontextmanager
async def open_lab(
    settings: Settings, folder: Path, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Lab]:
    settings.service_map.write_text(MAP)
    made = create_server(settings.model_copy(update={"workers": 2}))
    async with opened(made) as server, _served(server, tls) as url:
        lab = Lab(server, url, folder)
        try:
            yield lab
        finally:
            for agent in lab.agents:
                if agent.process is not None and agent.process.poll() is None:
                    await agent.stop()


@asynccontextmanager
async def _served(server: FastAPI, tls: ssl.SSLContext | None) -> AsyncIterator[str]:
    async def doors(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        await server(scope, receive, send)

    async with serve(doors, tls=tls) as url:
        yield url


Opening = Callable[..., Awaitable[AgentProcess]]
