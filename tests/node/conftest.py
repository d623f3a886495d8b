"""A fake control plane and real agents that belong to it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.fakes.control import FakeControl
from tests.fakes.serve import serve
from tests.node.agent import AgentProcess

SLEEP = {"argv": ["sleep", "60"]}


@pytest.fixture
def control() -> FakeControl:
    return FakeControl()


@pytest.fixture
async def control_url(control: FakeControl) -> AsyncIterator[str]:
    async with serve(control.app) as url:
        yield url


@pytest.fixture
async def joined(
    control: FakeControl, control_url: str, tmp_path: Path
) -> AsyncIterator[Callable[..., Awaitable[AgentProcess]]]:
    """Give a function that joins and starts an agent."""
    made: list[AgentProcess] = []

    async def make(name: str = "pc", *, start: bool = True) -> AgentProcess:
        agent = AgentProcess(tmp_path / name, control_url, name=name)
        made.append(agent)
        agent.belong(control)
        agent.allow(sleep=SLEEP)
        if start:
            await agent.start()
        return agent

    yield make
    for agent in made:
        if agent.process is not None and agent.process.poll() is None:
            agent.kill()


@pytest.fixture
async def agent(joined: Callable[..., Awaitable[AgentProcess]]) -> AgentProcess:
    return await joined()
