"""Jobs wait at the gate for their card, work under a lease, and give it back as they end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import pytest
from pydantic import BaseModel, Field

from nebula.app import App, open_app
from nebula.auth.principal import Caller, Principal, Surface
from nebula.errors import Yielded
from nebula.gpu.leases.need import GpuNeed
from nebula.gpu.policy.types import PriorityClass
from nebula.jobs.job import Job, JobHandle, JobState
from nebula.jobs.worker import Worker, open_worker
from nebula.settings import Settings
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from nebula.tool.registry import Registry
from nebula.tool.result import Result
from tests.nebula.gpu.leases.conftest import MAP

GO = asyncio.Event()
TOKENS: list[int] = []


class Drawn(Result):
    """What a picture was drawn with."""

    model: str | None
    token: int


def _need(values: BaseModel) -> GpuNeed:
    model = getattr(values, "model", None)
    return GpuNeed(service="comfyui", model=model, klass=PriorityClass.IMAGE, what="a picture")


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.IDEMPOTENT,
    background=True,
    gpu=_need,
    selectors=["model"],
    examples=["draw", "draw it"],
)
async def sample_draw(
    ctx: Context, model: Annotated[str, Field(description="Which model")]
) -> Drawn:
    """Draw a picture."""
    assert ctx.lease is not None
    TOKENS.append(ctx.lease.token)
    if model == "FLUX" and len(TOKENS) == 1:
        await ctx.lease.should_yield.wait()
        raise Yielded("It saved its work for a chat")
    await GO.wait()
    return Drawn(model=model, token=ctx.lease.token)


@pytest.fixture
async def lab(settings: Settings) -> AsyncIterator[App]:
    global GO
    GO = asyncio.Event()
    TOKENS.clear()
    settings.service_map.write_text(MAP)
    async with open_app(settings, registry=Registry([sample_draw])) as app:
        yield app


@pytest.fixture
async def worker(lab: App) -> AsyncIterator[Worker]:
    async with open_worker(lab, 4, grace_seconds=0.2) as worker:
        yield worker


async def _submit(lab: App, who: Principal, call: str, model: str = "SDXL") -> JobHandle:
    made = await lab.executor.execute(
        "sample_draw", {"model": model}, caller=Caller(who, Surface.REST), call_id=call
    )
    assert isinstance(made, JobHandle)
    return made


async def _ended(lab: App, who: Principal, handle: JobHandle) -> Job:
    job = await lab.parts.jobs.wait(handle.job_id, who, 20)
    assert job.state.ended, job
    return job


async def test_a_job_makes_room_works_under_a_lease_and_gives_it_back(
    lab: App, worker: Worker, admin: Principal
) -> None:
    GO.set()
    handle = await _submit(lab, admin, "one")
    job = await _ended(lab, admin, handle)
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result == {"model": "SDXL", "token": 1}
    rows = await lab.parts.leases.rows()
    assert rows.leases == ()
    assert [(r.model, r.state) for r in rows.residents] == [("SDXL", "loaded")]


async def _one_of_two_waits(lab: App, who: Principal) -> tuple[list[JobHandle], Job]:
    """Submit two jobs for one seat; return both and the one that is told why it waits."""
    handles = [await _submit(lab, who, "one"), await _submit(lab, who, "two")]
    async with asyncio.timeout(20):
        while True:
            waiting = [w.job_id for w in (await lab.parts.leases.rows()).waiting if w.because]
            if TOKENS and len(waiting) == 1:
                return handles, await lab.parts.jobs.get(str(waiting[0]), who)
            await asyncio.sleep(0.02)


async def test_a_second_job_waits_for_the_first_and_says_why(
    lab: App, worker: Worker, admin: Principal
) -> None:
    handles, waiting = await _one_of_two_waits(lab, admin)
    assert waiting.state is JobState.QUEUED
    assert "SDXL" in waiting.waits_because
    assert len((await lab.parts.leases.rows()).leases) == 1
    GO.set()
    for handle in handles:
        assert (await _ended(lab, admin, handle)).state is JobState.SUCCEEDED
    assert TOKENS == [1, 2], "tokens only grow"


async def test_a_job_that_is_cancelled_while_it_waits_leaves_the_line(
    lab: App, worker: Worker, admin: Principal
) -> None:
    handles, waiting = await _one_of_two_waits(lab, admin)
    await lab.parts.jobs.cancel(waiting.id, admin)
    assert (await lab.parts.leases.rows()).waiting == ()
    GO.set()
    for handle in handles:
        await _ended(lab, admin, handle)
    assert TOKENS == [1]


async def test_a_job_that_is_cancelled_at_work_frees_its_card(
    lab: App, worker: Worker, admin: Principal
) -> None:
    handle = await _submit(lab, admin, "one")
    async with asyncio.timeout(10):
        while not TOKENS:
            await asyncio.sleep(0.02)
    await lab.parts.jobs.cancel(handle.job_id, admin)
    assert (await _ended(lab, admin, handle)).state is JobState.CANCELLED
    assert (await lab.parts.leases.rows()).leases == ()


async def test_what_a_dead_worker_held_is_kept_until_its_node_has_stopped(
    lab: App, worker: Worker, admin: Principal
) -> None:
    handle = await _submit(lab, admin, "one")
    async with asyncio.timeout(10):
        while not TOKENS:
            await asyncio.sleep(0.02)
    gate = lab.parts.jobs.gate
    assert gate is not None
    async with lab.parts.db.session() as session:
        await gate.withdrawn(session, handle.job_id)
    (lost,) = (await lab.parts.leases.rows()).leases
    assert lost.state == "lost"
    assert (await lab.parts.leases.rows()).cards[0].reserved > 0
    GO.set()
    await _ended(lab, admin, handle)


async def test_a_job_that_is_asked_to_yield_saves_leaves_and_goes_on_later(
    lab: App, worker: Worker, admin: Principal
) -> None:
    handle = await _submit(lab, admin, "one", model="FLUX")
    async with asyncio.timeout(20):
        while not TOKENS:
            await asyncio.sleep(0.02)
    leases = lab.parts.leases
    async with lab.parts.db.session() as session:
        open_ones = [v.id for v in (await leases.rows()).leases]
        await leases.tools.ledger.ask_to_yield(session, open_ones)
    GO.set()
    job = await _ended(lab, admin, handle)
    assert job.state is JobState.SUCCEEDED, job.error
    assert TOKENS == [1, 2]
    assert job.attempts == 2


async def test_a_job_for_a_service_nobody_knows_is_refused_at_once(
    lab: App, admin: Principal
) -> None:
    lab.parts.settings.service_map.write_text(MAP.replace("name: comfyui", "name: elsewhere"))
    await lab.parts.services.refresh()
    with pytest.raises(Exception, match="comfyui is not a GPU service"):
        await _submit(lab, admin, "one")


async def test_a_job_that_waits_is_moved_at_the_gate_too(
    lab: App, worker: Worker, admin: Principal
) -> None:
    handles, waiting = await _one_of_two_waits(lab, admin)
    third = await _submit(lab, admin, "three", model="FLUX")
    moved = await lab.parts.jobs.set_priority(third.job_id, 500, admin)
    assert moved.priority == 500
    wishes = {w.job_id: w.priority for w in (await lab.parts.leases.rows()).waiting}
    assert wishes == {waiting.id: 0, third.job_id: 500}
    GO.set()
    ends = {h.job_id: await _ended(lab, admin, h) for h in [*handles, third]}
    started = {job.id: job.started_at for job in ends.values()}
    first, second = started[third.job_id], started[waiting.id]
    assert first is not None
    assert second is not None
    assert first < second, "it went before the one that waited longer"
