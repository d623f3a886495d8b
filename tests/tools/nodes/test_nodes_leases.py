"""GPU commands on real agents: placed by the scheduler, fenced by the agent."""

import asyncio
import signal

import pytest
from sqlalchemy import text

from nebula.auth.principal import Principal
from nebula.errors import Conflict
from nebula.jobs.job import JobHandle, JobState
from node.protocol import TaskRequest
from tests.node.agent import AgentProcess, alive, until
from tests.node.checker import violations
from tests.tools.nodes.lab import Lab

GIB = 1024**3
TRAIN = {"argv": ["sleep", "60"], "gpu": True}
QUICK = {"argv": ["sh", "-c", "echo on the card"], "gpu": True}


@pytest.fixture
def _short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JARVIS_GPU_LEASE_SECONDS", "4")
    monkeypatch.setenv("JARVIS_GPU_GRACE_SECONDS", "2")


async def open_leases(lab: Lab) -> list[tuple[int, str]]:
    async with lab.app.parts.db.session() as s:
        rows = await s.execute(text("SELECT token, state FROM gpu_leases WHERE state <> 'ended'"))
        return [(row.token, row.state) for row in rows]


async def started(lab: Lab, who: Principal, agent: AgentProcess) -> tuple[str, int]:
    """Start the long command under a lease; return its job and its process."""
    handle = await lab.approved(who, "nodes_run_command", node="pc", command="train", vram_gb=2)
    assert isinstance(handle, JobHandle)
    await until(lambda: agent.journal("started"), seconds=30, what="the work starts")
    return handle.job_id, agent.journal("started")[-1]["pid"]


async def test_nodes_run_command_with_vram_runs_under_the_token_of_a_lease(
    _short_leases: None, lab: Lab, developer: Principal
) -> None:
    agent = await lab.agent(card=8 * GIB, commands={"quick": QUICK})
    job = await lab.job(developer, "nodes_run_command", node="pc", command="quick", vram_gb=2)
    assert job.state is JobState.SUCCEEDED, job.error
    (line,) = agent.journal("accepted")
    assert (line["gpu"], line["vram"], line["job"]) == (0, 2 * GIB, job.id)
    assert line["token"] >= 1
    assert await open_leases(lab) == []
    job = await lab.job(developer, "nodes_run_command", node="pc", command="quick")
    assert job.error is not None and "lease of a card" in str(job.error["detail"])


async def test_work_of_a_frozen_agent_ends_with_its_lease_and_the_card_is_free_after_that(
    _short_leases: None, lab: Lab, developer: Principal
) -> None:
    agent = await lab.agent(card=8 * GIB, commands={"train": TRAIN})
    job_id, pid = await started(lab, developer, agent)
    ((token, _),) = await open_leases(lab)
    agent.signal(signal.SIGSTOP)
    await until(lambda: not alive(pid), seconds=40, what="the work ends")
    agent.signal(signal.SIGCONT)
    job = await lab.app.parts.jobs.wait(job_id, developer, 60)
    assert job.state is JobState.UNKNOWN, "it broke in the middle, and nobody can look it up"
    assert [x["state"] for x in agent.journal("ended")] == ["fenced"]
    assert violations(agent.journal(), {0: 8 * GIB}) == []
    async with asyncio.timeout(30):
        while await open_leases(lab):
            await asyncio.sleep(0.05)
    client = await lab.app.parts.nodes.client("pc")
    with pytest.raises(Conflict):
        await client.start(TaskRequest("stale", "train", gpu=0, token=token))


async def test_a_lost_lease_is_freed_as_soon_as_its_node_says_that_the_work_is_over(
    lab: Lab, developer: Principal
) -> None:
    agent = await lab.agent(card=8 * GIB, commands={"train": TRAIN})
    job_id, pid = await started(lab, developer, agent)
    gate = lab.app.parts.jobs.gate
    assert gate is not None
    async with asyncio.timeout(10):
        while not (await lab.app.parts.nodes.get("pc")).tasks:
            await asyncio.sleep(0.02)
    async with lab.app.parts.db.session() as session:
        await gate.withdrawn(session, job_id)
        ledger = lab.app.parts.leases.tools.ledger
        assert await ledger.bury(session, 15.0) == (), "its node says that it runs"
    async with asyncio.timeout(20):  # by itself it would be kept for 45 s
        while (open_ones := await open_leases(lab)) or alive(pid):
            assert not alive(pid) or open_ones, "what may still run keeps its memory"
            await asyncio.sleep(0.02)
    async with lab.app.parts.db.session() as session:
        reason = await session.scalar(text("SELECT end_reason FROM gpu_leases"))
    assert reason == "lost; its node stopped it"
