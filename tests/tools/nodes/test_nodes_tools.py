"""The tools of machines, through the executor and the HTTP doors, against real agents."""

import asyncio
import socket
from dataclasses import replace

import pytest
from sqlalchemy import text

from nebula.auth.principal import Caller, Principal, Surface
from nebula.errors import (
    ApprovalRequired,
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
    UpstreamUnavailable,
)
from nebula.jobs.job import JobHandle, JobState
from nebula.services.map import GpuSpec, NodeSpec
from nebula.services.nodes.node import NodeHealth
from nebula.services.sizes import GIB
from nebula.tool.render import to_markdown
from node.protocol import Hardware, Heartbeat, JoinRequest, Metrics
from tests.node.agent import AgentProcess, alive, until
from tests.tools.nodes.lab import Lab
from tools.nodes.schemas import BootstrapScript
from tools.nodes.service import mapped_cards

COUNT = {"argv": ["sh", "-c", "echo one; echo two; exit 3"]}
SLEEP = {"argv": ["sleep", "60"]}
COMMANDS = {"count": COUNT, "sleep": SLEEP, "echo": {"argv": ["echo"], "extra_args": True}}


async def test_a_machine_joins_is_listed_and_is_looked_at(
    lab: Lab, viewer: Principal, admin: Principal
) -> None:
    agent = await lab.agent("gaming-pc", commands=COMMANDS)
    listed = await lab.call(viewer, "nodes_list")
    found = {n.name: n for n in listed.nodes}
    assert found["gaming-pc"].health == "online" and found["gaming-pc"].address == agent.url
    assert found["here"].joined is False
    assert "1 of 1 joined machines" in to_markdown(listed.render())
    got = await lab.call(viewer, "nodes_get", node="gaming-pc")
    assert got.commands == ["count", "echo", "sleep"] and "ollama" in got.recipes
    assert got.hardware.ram_gb and got.hardware.cpu
    seen = await lab.call(viewer, "nodes_detect_hardware", node="gaming-pc")
    assert seen.hostname == socket.gethostname()
    assert "Processor" in to_markdown(seen.render())
    spec = lab.app.parts.services.map.node("gaming-pc")
    assert spec is not None and spec.agent
    with pytest.raises(NotFound, match="nobody"):
        await lab.call(viewer, "nodes_get", node="nobody")


async def test_nodes_run_command_works_after_approval_and_streams_its_output_to_the_job(
    lab: Lab, developer: Principal
) -> None:
    agent = await lab.agent(commands=COMMANDS)
    job = await lab.job(developer, "nodes_run_command", node="pc", command="count")
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result is not None
    assert (job.result["exit_code"], job.result["lines"]) == (3, ["one", "two"])
    assert await lab.log(developer, job.id) == ["one", "two"]
    assert [x["job"] for x in agent.journal("accepted")] == [job.id]
    job = await lab.job(developer, "nodes_run_command", node="pc", command="echo", args=["hi"])
    assert job.result is not None and job.result["lines"] == ["hi"]


async def test_nodes_run_command_is_denied_to_those_who_only_look(
    lab: Lab, viewer: Principal
) -> None:
    with pytest.raises(PermissionDenied):
        await lab.call(viewer, "nodes_run_command", node="pc", command="count")


async def test_nodes_run_command_waits_for_approval_and_runs_nothing_before(
    lab: Lab, developer: Principal
) -> None:
    agent = await lab.agent(commands=COMMANDS)
    with pytest.raises(ApprovalRequired):
        await lab.call(developer, "nodes_run_command", node="pc", command="echo", args=["a b", ";"])
    assert agent.journal("accepted") == []
    [asked] = await lab.app.parts.approvals.list(developer)
    rows = asked.evidence.preview[0].model_dump()["rows"]
    assert rows[:4] == [["machine", "pc"], ["program", "echo"], ["word 1", "a b"], ["word 2", ";"]]
    assert asked.resources == {"command echo on pc": '["echo"]'}


async def test_nodes_run_command_says_when_the_machine_is_away_or_does_not_allow_it(
    lab: Lab, developer: Principal
) -> None:
    agent = await lab.agent(commands=COMMANDS)
    with pytest.raises(NotFound, match="does not allow a command 'rm'"):
        await lab.call(developer, "nodes_run_command", node="pc", command="rm")
    job = await lab.job(developer, "nodes_run_command", node="pc", command="count", args=["x"])
    assert job.error is not None and "no arguments" in str(job.error["detail"])
    agent.kill()
    with pytest.raises(UpstreamUnavailable):
        await lab.call(developer, "nodes_run_command", node="pc", command="count")
    assert await lab.app.parts.approvals.list(developer) == []


async def test_a_command_whose_program_is_not_there_has_failed(
    lab: Lab, developer: Principal
) -> None:
    await lab.agent(commands={"gone": {"argv": ["/no/such/program"]}})
    job = await lab.job(developer, "nodes_run_command", node="pc", command="gone")
    assert job.state is JobState.FAILED and job.error is not None
    assert "could not start it" in str(job.error["detail"])


async def test_cancelling_the_job_kills_the_process_on_the_machine(
    lab: Lab, developer: Principal
) -> None:
    agent = await lab.agent(commands=COMMANDS)
    handle = await lab.approved(developer, "nodes_run_command", node="pc", command="sleep")
    assert isinstance(handle, JobHandle)
    await until(lambda: agent.journal("started"), what="the command starts")
    pid = agent.journal("started")[0]["pid"]
    await lab.app.parts.jobs.cancel(handle.job_id, developer)
    job = await lab.app.parts.jobs.wait(handle.job_id, developer, 30)
    assert job.state is JobState.CANCELLED
    assert not alive(pid)


async def test_a_command_that_broke_off_in_the_middle_is_unknown_and_never_run_again(
    lab: Lab, developer: Principal
) -> None:
    agent = await lab.agent(commands=COMMANDS)
    handle = await lab.approved(developer, "nodes_run_command", node="pc", command="sleep")
    await until(lambda: agent.journal("started"))
    agent.kill()
    await agent.start()
    job = await lab.app.parts.jobs.wait(handle.job_id, developer, 30)
    assert job.state is JobState.UNKNOWN, job.error
    assert len(agent.journal("accepted")) == 1


async def test_two_agents_on_one_machine_are_two_nodes(lab: Lab, developer: Principal) -> None:
    await asyncio.gather(lab.agent("one", commands=COMMANDS), lab.agent("two", commands=COMMANDS))
    jobs = await asyncio.gather(
        *(lab.job(developer, "nodes_run_command", node=n, command="count") for n in ("one", "two"))
    )
    assert [job.state for job in jobs] == [JobState.SUCCEEDED] * 2


async def test_a_killed_agent_goes_offline_by_the_databases_clock_and_comes_back(
    lab: Lab, viewer: Principal
) -> None:
    agent = await lab.agent()
    agent.kill()
    async with lab.app.parts.db.session() as s:
        await s.execute(
            text("UPDATE nodes SET heartbeat_at = heartbeat_at - interval '20 seconds'")
        )
    listed = await lab.call(viewer, "nodes_list")
    assert [n.health for n in listed.nodes if n.name == "pc"] == ["offline"]
    await agent.start()
    await lab.health("pc", NodeHealth.ONLINE)


async def test_a_join_token_lets_one_machine_in_and_a_wrong_secret_nobody(lab: Lab) -> None:
    token = (await lab.app.parts.nodes.create_token("admin")).token
    first = AgentProcess(lab.folder / "a", lab.url, name="a")
    second = AgentProcess(lab.folder / "b", lab.url, name="b")
    assert (await first.join(token))[0] == 0
    code, said = await second.join(token)
    assert code == 1 and "used or expired" in said
    assert (first.home / "node.json").stat().st_mode & 0o077 == 0
    assert not (second.home / "node.json").exists()
    first.key = "wrong"
    lab.agents.append(first)
    await first.start()
    assert (await first.ask("GET", "/v1/health")).status_code == 401
    await lab.health("a", NodeHealth.ONLINE)


async def test_a_control_plane_that_lost_its_key_is_told_to_join_the_machine_anew(
    lab: Lab, viewer: Principal
) -> None:
    agent = await lab.agent()
    home = agent.home / "node.json"
    home.write_text(home.read_text().replace('"key_digest": "', '"key_digest": "00'))
    await agent.stop()
    await agent.start()
    from nebula.errors import UpstreamRejected

    with pytest.raises(UpstreamRejected, match="does not take our key"):
        await lab.call(viewer, "nodes_detect_hardware", node="pc")


async def test_nodes_bootstrap_gives_a_script_with_a_token_to_administrators_and_to_no_model(
    lab: Lab, admin: Principal, developer: Principal
) -> None:
    made = await lab.call(admin, "nodes_bootstrap", system="windows", name="gaming-pc")
    assert "'gaming-pc'" in made.script and "@" not in made.script.replace("@more", "").replace(
        "@(", ""
    )
    assert len(await lab.app.parts.nodes.tokens()) == 1
    with pytest.raises(PermissionDenied):
        await lab.call(developer, "nodes_bootstrap")
    with pytest.raises(PermissionDenied):
        await lab.app.executor.execute(
            "nodes_bootstrap", {}, caller=Caller(admin, Surface.REST, by_model=True), call_id="m"
        )
    with pytest.raises(InvalidInput, match="name a machine"):
        await lab.call(admin, "nodes_bootstrap", name="Gaming PC; rm")


async def test_the_script_of_nodes_bootstrap_is_shown_once_and_kept_nowhere(
    lab: Lab, admin: Principal
) -> None:
    who, run = Caller(admin, Surface.REST), lab.app.executor
    made = await run.execute("nodes_bootstrap", {}, caller=who, call_id="once")
    assert isinstance(made, BootstrapScript)
    assert made.script
    async with lab.app.parts.db.session() as session:
        kept = await session.scalar(
            text("SELECT result FROM tool_calls WHERE call_id = 'once' AND state = 'succeeded'")
        )
    assert set(kept) == {"system", "expires_at", "note"}
    with pytest.raises(Conflict, match="shown once") as told:
        await run.execute("nodes_bootstrap", {}, caller=who, call_id="once")
    assert "new script" in str(told.value.hint)
    assert len(await lab.app.parts.nodes.tokens()) == 1
    with pytest.raises(InvalidInput, match="cannot be a job"):
        await run.submit("nodes_bootstrap", {}, caller=who, call_id="job")


async def test_nodes_wake_sends_the_packet_from_here_and_from_machines_beside_it(
    lab: Lab, developer: Principal, viewer: Principal
) -> None:
    token = (await lab.app.parts.nodes.create_token("admin")).token
    hardware = Hardware("pc", "Linux", mac="01:23:45:67:89:ab", broadcast="127.255.255.255")
    wish = JoinRequest(token, "sleepy", "http://127.0.0.1:1", hardware)
    joined = await lab.app.parts.nodes.join(wish)
    helper = await lab.agent("helper")
    async with lab.app.parts.db.session() as s:
        await s.execute(
            text(
                'UPDATE nodes SET hardware = hardware || \'{"broadcast": "127.255.255.255"}\' '
                "WHERE name = 'helper'"
            )
        )
    woken = await lab.call(developer, "nodes_wake", node="sleepy")
    assert woken.through == ["this machine", "helper"] and helper.name == "helper"
    with pytest.raises(PermissionDenied):
        await lab.call(viewer, "nodes_wake", node="sleepy")
    await lab.app.parts.nodes.heartbeat("sleepy", joined.secret, Heartbeat("n", Metrics()))
    with pytest.raises(Conflict, match="awake"):
        await lab.call(developer, "nodes_wake", node="sleepy")
    still = replace(hardware, mac=None)
    again = Heartbeat("n", Metrics(), hardware=still)
    await lab.app.parts.nodes.heartbeat("sleepy", joined.secret, again)
    async with lab.app.parts.db.session() as s:
        await s.execute(text("UPDATE nodes SET heartbeat_at = NULL WHERE name = 'sleepy'"))
    with pytest.raises(Conflict, match="MAC"):
        await lab.call(developer, "nodes_wake", node="sleepy")


async def test_nodes_detect_hardware_says_when_the_machine_is_frozen_or_gone(
    lab: Lab, viewer: Principal
) -> None:
    agent = await lab.agent()
    agent.kill()
    with pytest.raises(UpstreamUnavailable, match="does not answer"):
        await lab.call(viewer, "nodes_detect_hardware", node="pc")


def test_a_machine_of_the_map_is_listed_with_the_cards_it_is_said_to_have() -> None:
    spec = NodeSpec(name="pc", gpus=(GpuSpec(name="RTX 3060", vram=12 * GIB), GpuSpec(index=1)))
    cards = mapped_cards(spec)
    assert [(c.index, c.name, c.vram_gb) for c in cards] == [(0, "RTX 3060", 12), (1, None, None)]
