"""Jobs that need a GPU: the gate decides when they start, and hears how they end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.app import App, open_app
from nebula.auth.principal import Caller
from nebula.errors import InvalidInput, UpstreamUnavailable
from nebula.gpu.leases.lease import Lease
from nebula.gpu.leases.need import GpuNeed
from nebula.gpu.policy.types import PriorityClass
from nebula.jobs.job import Job, JobHandle, JobState
from nebula.jobs.models import JobRow
from nebula.jobs.recovery import lose
from nebula.jobs.service import Jobs
from nebula.jobs.worker import open_worker
from nebula.settings import Settings
from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from nebula.tool.registry import Registry
from tests.nebula.jobs import samples
from tests.nebula.jobs.pace import QUICK


def need(values: BaseModel) -> GpuNeed | None:
    name = getattr(values, "name", "")
    return None if name == "cpu" else GpuNeed(klass=PriorityClass.BATCH, vram=1, what=name)


@tool(
    effect=Effect.WRITE,
    kind=EffectKind.KEYED,
    background=True,
    gpu=need,
    examples=samples.SAYS,
    selectors=["name"],
)
async def sample_paint(
    ctx: Context, name: Annotated[str, Field(description="What to paint")]
) -> samples.Made:
    """Paint a thing on a GPU."""
    samples.note(ctx, f"lease {ctx.lease.token if ctx.lease else None}")
    if name == "away" and ctx.lease is not None:
        ctx.lease.may_run_on.set()
    if name == "lost" and ctx.run is not None and ctx.run.job.attempts == 1:
        raise UpstreamUnavailable("The card went away.")
    return samples.Made(name=name)


class SlowGate:
    """Lets a job in when the test says so, and keeps what it was told."""

    def __init__(self, jobs: Jobs) -> None:
        self.told: list[str] = []
        self.opened = asyncio.Event()
        self._jobs = jobs

    async def admit(self, session: AsyncSession, job: Job, need: GpuNeed) -> None:
        if need.what == "gone" and job.attempts:
            raise InvalidInput("There is no such card any more.")
        self.told.append(f"admit {need.what}")
        if self.opened.is_set():
            await self._jobs.ready(session, job.id)
        else:
            await self._jobs.waits(session, job.id, "It waits for the card.")

    async def finished(self, session: AsyncSession, job_id: str) -> None:
        self.told.append("finished")

    async def withdrawn(self, session: AsyncSession, job_id: str) -> None:
        self.told.append("withdrawn")

    async def moved(self, session: AsyncSession, job_id: str, priority: int) -> None:
        self.told.append(f"moved {priority}")

    @asynccontextmanager
    async def lease(self, job_id: str) -> AsyncIterator[Lease]:
        self.told.append("lease")
        yield Lease(id="l", token=7, node="n", gpu=0, service=None, model=None, vram=1)


@pytest.fixture
async def lab(settings: Settings) -> AsyncIterator[App]:
    samples.DONE.clear()
    async with open_app(settings, registry=Registry([sample_paint])) as app:
        yield app


@pytest.fixture
def gate(lab: App) -> SlowGate:
    lab.parts.jobs.gate = gate = SlowGate(lab.parts.jobs)
    return gate


async def paint(app: App, who: Caller, name: str) -> JobHandle:
    made = await app.executor.execute("sample_paint", {"name": name}, caller=who, call_id=name)
    assert isinstance(made, JobHandle)
    return made


async def test_a_job_that_needs_a_gpu_waits_at_the_gate_and_runs_under_its_lease(
    lab: App, gate: SlowGate, ada: Caller, ended: Any
) -> None:
    handle = await paint(lab, ada, "cat")
    async with open_worker(lab, 1, pace=QUICK):
        done = await ended(await paint(lab, ada, "cpu"))
        assert done.state is JobState.SUCCEEDED, "what needs no GPU passes by"
        job = await lab.parts.jobs.get(handle.job_id, ada.principal)
        assert (job.state, job.waits_because) == (JobState.QUEUED, "It waits for the card.")
        async with lab.parts.db.session() as session:
            await lab.parts.jobs.ready(session, handle.job_id)
        assert (await ended(handle)).state is JobState.SUCCEEDED
    assert samples.DONE == ["lease None", "lease 7"]
    assert gate.told == ["admit cat", "lease", "finished"]


async def test_each_attempt_goes_through_the_gate_anew(
    lab: App, gate: SlowGate, ada: Caller, ended: Any
) -> None:
    gate.opened.set()
    async with open_worker(lab, 1, pace=QUICK):
        job = await ended(await paint(lab, ada, "lost"))
    assert (job.state, job.attempts) == (JobState.SUCCEEDED, 2)
    assert gate.told == ["admit lost", "lease", "finished"] * 2


async def test_the_gate_hears_when_the_work_of_a_run_may_go_on_elsewhere(
    lab: App, gate: SlowGate, ada: Caller, ended: Any
) -> None:
    gate.opened.set()
    async with open_worker(lab, 1, pace=QUICK):
        await ended(await paint(lab, ada, "away"))
    assert gate.told == ["admit away", "lease", "withdrawn"]


async def test_the_card_of_a_dead_worker_is_not_free_at_once_even_when_its_job_has_ended(
    lab: App, gate: SlowGate, ada: Caller
) -> None:
    gate.opened.set()
    handle = await paint(lab, ada, "cat")
    async with lab.parts.db.session() as session:
        row = await session.get(JobRow, handle.job_id)
        assert row is not None and row.queue_id is not None
        assert await lab.parts.jobs.moves.claim(session, row.id, row.queue_id, "dead")
    await lab.parts.jobs.cancel(handle.job_id, ada.principal)
    async with lab.parts.db.session() as session:
        await lose(lab, session, handle.job_id)
    job = await lab.parts.jobs.get(handle.job_id, ada.principal)
    assert job.state is JobState.CANCELLED
    assert gate.told == ["admit cat", "withdrawn"]


async def test_a_cancelled_wish_is_withdrawn(lab: App, gate: SlowGate, ada: Caller) -> None:
    handle = await paint(lab, ada, "cat")
    job = await lab.parts.jobs.cancel(handle.job_id, ada.principal)
    assert job.state is JobState.CANCELLED
    assert gate.told == ["admit cat", "withdrawn"]
    async with lab.parts.db.session() as session:
        await lab.parts.jobs.ready(session, handle.job_id)
    assert (await lab.parts.jobs.get(job.id, ada.principal)).state is JobState.CANCELLED


async def test_a_place_that_comes_too_late_starts_nothing(
    lab: App, gate: SlowGate, ada: Caller, ended: Any
) -> None:
    gate.opened.set()
    handle = await paint(lab, ada, "cat")
    await lab.parts.jobs.cancel(handle.job_id, ada.principal)
    async with open_worker(lab, 1, pace=QUICK):
        await ended(await paint(lab, ada, "dog"))
    assert samples.DONE == ["lease 7"]


async def test_a_wish_that_can_never_be_met_again_ends_the_job(
    lab: App, gate: SlowGate, ada: Caller, ended: Any
) -> None:
    gate.opened.set()
    handle = await paint(lab, ada, "gone")
    moves = lab.parts.jobs.moves
    async with lab.parts.db.session() as session:
        claim = await moves.claim(session, handle.job_id, 1, "dead")
        assert claim is not None
    async with open_worker(lab, 1, pace=QUICK):
        job = await ended(handle)
    assert (job.state, (job.error or {})["code"]) == (JobState.FAILED, "invalid_input")


async def test_without_a_gate_nothing_is_recorded(lab: App, ada: Caller) -> None:
    lab.parts.jobs.moves.gate = None
    with pytest.raises(UpstreamUnavailable, match="nothing here hands out GPUs"):
        await paint(lab, ada, "cat")
    assert await lab.parts.jobs.list(ada.principal) == []


async def test_the_gate_hears_of_a_new_priority(lab: App, gate: SlowGate, ada: Caller) -> None:
    handle = await paint(lab, ada, "cat")
    await lab.parts.jobs.set_priority(handle.job_id, 7, ada.principal)
    passes_by = await paint(lab, ada, "cpu")
    await lab.parts.jobs.set_priority(passes_by.job_id, 9, ada.principal)
    assert gate.told == ["admit cat", "moved 7"]
