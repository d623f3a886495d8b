"""An open App with background tools, and a worker over it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from nebula.app import App, open_app
from nebula.auth.principal import Caller, Principal, Surface
from nebula.jobs.job import Job, JobHandle
from nebula.jobs.worker import Worker, open_worker
from nebula.settings import Settings
from nebula.tool.registry import Registry
from tests.nebula.jobs import samples
from tests.nebula.jobs.pace import QUICK

Submit = Callable[..., Awaitable[JobHandle]]


@pytest.fixture
async def lab(settings: Settings) -> AsyncIterator[App]:
    samples.DONE.clear()
    samples.KEYS.clear()
    samples.LET_GO = asyncio.Event()
    async with open_app(settings, registry=Registry(samples.ALL)) as app:
        yield app


@pytest.fixture
async def worker(lab: App) -> AsyncIterator[Worker]:
    async with open_worker(lab, 4, grace_seconds=0.1, pace=QUICK) as worker:
        yield worker


@pytest.fixture
def ada(admin: Principal) -> Caller:
    return Caller(admin, Surface.REST)


@pytest.fixture
def submit(lab: App, ada: Caller) -> Submit:
    count = 0

    async def call(name: str, tool: str = "sample_idempotent", call_id: str = "") -> JobHandle:
        nonlocal count
        count += 1
        made = await lab.executor.execute(
            tool, {"name": name}, caller=ada, call_id=call_id or f"call-{count}"
        )
        assert isinstance(made, JobHandle)
        return made

    return call


@pytest.fixture
def ended(lab: App, ada: Caller) -> Callable[[JobHandle], Awaitable[Job]]:
    async def wait(handle: JobHandle) -> Job:
        job = await lab.parts.jobs.wait(handle.job_id, ada.principal, 20)
        assert job.state.ended, job
        return job

    return wait
