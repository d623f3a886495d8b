"""Services of a real agent: kept up, left alone when hopeless, and back after a crash."""

import asyncio
import os
import signal
import sys

import httpx

from nebula.packages import checkout
from tests.node.agent import AgentProcess, alive, free_port, until


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}", trust_env=False, timeout=1).is_success
    except httpx.HTTPError:
        return False


def web(port: int, **more: object) -> dict[str, object]:
    argv = ["python3", "-u", "-m", "http.server", "--bind", "{bind}", str(port)]
    return {"argv": argv, "port": port, **more}


async def state(agent: AgentProcess, name: str) -> dict[str, object]:
    found = (await agent.ask("GET", "/v1/services")).json()
    return next(s for s in found if s["name"] == name)


async def test_a_service_that_crashes_is_started_again_and_one_that_was_stopped_is_not(
    agent: AgentProcess,
) -> None:
    port = free_port()
    agent.configure(services={"web": web(port)})
    assert (await agent.ask("POST", "/v1/services/web/start")).status_code == 200
    await until(lambda: answers(port))
    first = agent.journal("service_started")[-1]["pid"]
    os.kill(first, signal.SIGKILL)
    await until(lambda: agent.journal("service_started")[-1]["pid"] != first)
    await until(lambda: answers(port))
    assert (await state(agent, "web"))["restarts"] == 1
    await agent.ask("POST", "/v1/services/web/stop")
    assert not answers(port) and (await state(agent, "web"))["state"] == "stopped"
    agent.kill()
    await agent.start()
    assert (await state(agent, "web"))["state"] == "stopped", "what was stopped stays stopped"


async def test_services_that_start_by_themselves_are_back_after_a_crash_of_the_agent(
    agent: AgentProcess,
) -> None:
    port = free_port()
    agent.configure(services={"web": web(port)})
    agent.kill()
    await agent.start()
    await until(lambda: answers(port))
    first = agent.journal("service_started")[-1]["pid"]
    agent.kill()
    await agent.start()
    await until(lambda: answers(port))
    assert not alive(first), "the old one made room for the new one"


async def test_a_service_that_cannot_start_waits_longer_each_time_and_tells_why(
    agent: AgentProcess,
) -> None:
    agent.configure(services={"bad": {"argv": ["sh", "-c", "echo no disk; exit 3"]}})
    await agent.ask("POST", "/v1/services/bad/start")
    await until(lambda: len(agent.journal("service_started")) >= 3)
    at = [line["clock"] for line in agent.journal("service_started")]
    assert 0.9 < at[1] - at[0] < 1.9 < at[2] - at[1] < 4
    found = await state(agent, "bad")
    while found["state"] != "waiting":
        found = await state(agent, "bad")
    assert found["reason"] == "it ended with the code 3"
    log = (await agent.ask("GET", "/v1/services/bad/logs?lines=1")).json()
    assert log["lines"] == ["no disk"]
    assert (await agent.ask("POST", "/v1/services/bad/stop")).json()["state"] == "stopped"


async def test_doors_refuse_what_makes_no_sense(agent: AgentProcess) -> None:
    assert (await agent.ask("POST", "/v1/services/none/start")).status_code == 404
    assert (await agent.ask("POST", "/v1/services/none/dance")).status_code == 422
    assert (await agent.ask("GET", "/v1/tasks/none")).status_code == 404
    assert (await agent.ask("POST", "/v1/tasks", {"command": 1})).status_code == 422
    assert (await agent.ask("POST", "/v1/wake", {"mac": "x"})).status_code == 422
    assert (await agent.ask("GET", "/v1/health", key="wrong")).status_code == 401
    big = {"task_id": "x", "command": "y" * 2_000_000}
    assert (await agent.ask("POST", "/v1/tasks", big)).status_code == 422
    assert (await agent.ask("GET", "/v1/health")).json()["node"] == "pc"
    assert (await agent.ask("GET", "/v1/metrics")).json()["ram_total"] > 0


async def test_a_second_agent_over_the_same_folder_is_refused(agent: AgentProcess) -> None:
    second = AgentProcess(agent.home, agent.control)

    done = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "node", "run", "--home", str(second.home),
        cwd=checkout(), stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await done.communicate()
    assert done.returncode == 1 and b"runs with the folder" in said


async def test_joining_needs_a_fresh_token_and_a_place_that_may_hear_secrets(
    agent: AgentProcess,
) -> None:
    new = AgentProcess(agent.home.parent / "new", agent.control, name="new")
    code, said = await new.join("used")
    assert code == 1 and "token is used" in said
    new.control = "http://192.168.1.5:8420"
    code, said = await new.join("good")
    assert code == 1 and "plain HTTP" in said
    code, said = await agent.join("good")
    assert code == 1 and "joined already" in said
