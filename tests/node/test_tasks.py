"""Tasks of a real agent: run once, under their lease, and ended with it."""

import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.fakes.control import FakeControl
from tests.node.agent import AgentProcess, alive, until

FAMILY = "import subprocess,sys,time; p=subprocess.Popen(['sleep','60'],start_new_session=True); print(p.pid,flush=True); time.sleep(60)"


def lease(token: int, seconds: float = 3.0, gpu: int = 0) -> dict[str, float]:
    return {"gpu": gpu, "token": token, "seconds": seconds}


async def test_an_allowed_command_runs_and_its_log_can_be_followed(agent: AgentProcess) -> None:
    agent.allow(
        count={"argv": ["sh", "-c", "for i in 1 2 3; do echo line $i; sleep 0.1; done; exit 4"]}
    )
    answer = await agent.task("t1", "count")
    assert answer.status_code == 200, answer.text
    lines, after = [], 0
    while True:
        view = await agent.view("t1", after, wait=5)
        lines, after = lines + view["lines"], view["next"]
        if view["task"]["state"] not in {"starting", "running"}:
            break
    lines += (await agent.view("t1", after))["lines"]
    assert lines == ["line 1", "line 2", "line 3"]
    assert (view["task"]["state"], view["task"]["exit_code"]) == ("failed", 4)


async def test_only_the_owners_list_decides_what_runs(agent: AgentProcess) -> None:
    agent.allow(
        sleep={"argv": ["sleep", "60"]},
        echo={"argv": ["echo"], "extra_args": True},
        train={"argv": ["sleep", "60"], "gpu": True},
    )
    assert (await agent.task("a", "rm")).status_code == 404
    assert (await agent.task("b", "sleep", args=["5"])).status_code == 403
    assert (await agent.task("c", "echo", args=["--version"])).status_code == 403
    assert (await agent.task("d", "echo", args=["$(id)"])).status_code == 403
    assert (await agent.task("e", "train")).status_code == 409
    assert (await agent.task("../f", "sleep")).status_code == 422
    assert (await agent.task("g", "echo", args=["hello"])).status_code == 200
    await agent.ended("g")
    assert (await agent.view("g"))["lines"] == ["hello"]
    assert [x["task"] for x in agent.journal("accepted")] == ["g"]


async def test_the_same_request_again_starts_nothing_and_another_under_its_id_is_refused(
    agent: AgentProcess,
) -> None:
    first, again = await asyncio.gather(agent.task("t1"), agent.task("t1"))
    assert first.status_code == again.status_code == 200
    assert len(agent.journal("started")) == 1
    assert (await agent.task("t1", job="another")).status_code == 409


async def test_a_task_that_was_stopped_before_it_came_is_not_started_any_more(
    agent: AgentProcess,
) -> None:
    stopped = await agent.ask("DELETE", "/v1/tasks/t1")
    assert (stopped.status_code, stopped.json()["state"]) == (200, "killed")
    late = await agent.task("t1")
    assert late.status_code == 409 and "before it started" in late.json()["detail"]
    assert agent.journal("accepted") == []
    assert (await agent.task("t2")).status_code == 200


async def test_a_program_that_is_not_there_is_a_failed_task(agent: AgentProcess) -> None:
    agent.allow(gone={"argv": ["/no/such/program"]})
    await agent.task("t1", "gone")
    assert (await agent.ended("t1"))["state"] == "failed"


async def test_a_killed_task_takes_along_what_it_started_even_in_a_session_of_its_own(
    agent: AgentProcess,
) -> None:
    agent.allow(family={"argv": ["python3", "-c", FAMILY]})
    await agent.task("t1", "family")
    view = await agent.view("t1", wait=10)
    grandchild = int(view["lines"][0])
    assert alive(grandchild)
    answer = await agent.ask("DELETE", "/v1/tasks/t1")
    assert answer.json()["state"] == "killed"
    assert not alive(grandchild) and not alive(agent.pid_of("t1"))


async def test_what_a_task_leaves_in_the_background_ends_with_it(agent: AgentProcess) -> None:
    agent.allow(bg={"argv": ["sh", "-c", "setsid sleep 60 & echo $!"]})
    await agent.task("t1", "bg")
    assert (await agent.ended("t1"))["state"] == "succeeded"
    assert not alive(int((await agent.view("t1"))["lines"][0]))


async def test_a_task_needs_a_lease_that_the_control_plane_knows(
    agent: AgentProcess, control: FakeControl
) -> None:
    assert (await agent.task("t1", gpu=0, token=5)).status_code == 409
    control.leases = [lease(5)]
    assert (await agent.task("t2", gpu=0, token=5)).status_code == 200
    assert (await agent.task("t3", gpu=1, token=5)).status_code == 409
    control.status = 503
    assert (await agent.task("t4", gpu=0, token=6)).status_code == 503


async def test_a_token_of_the_past_is_refused_also_after_a_restart(
    agent: AgentProcess, control: FakeControl
) -> None:
    control.leases = [lease(7)]
    assert (await agent.task("t1", gpu=0, token=7)).status_code == 200
    control.leases = []
    assert (await agent.task("t2", gpu=0, token=6)).status_code == 409
    agent.kill()
    await agent.start()
    control.leases = [lease(6)]
    answer = await agent.task("t3", gpu=0, token=6)
    assert answer.status_code == 409 or "past" in answer.text
    assert [x["task"] for x in agent.journal("refused")] == ["t2", "t3"]


async def test_two_leases_of_one_card_work_side_by_side(
    agent: AgentProcess, control: FakeControl
) -> None:
    control.leases = [lease(5), lease(6)]
    await control.beat()
    assert (await agent.task("t6", gpu=0, token=6)).status_code == 200
    answer = await agent.task("t5", gpu=0, token=5)
    assert answer.status_code == 200, "lower, but it holds: the newer one is beside it"


async def test_a_lease_that_ended_takes_its_work_along(
    agent: AgentProcess, control: FakeControl
) -> None:
    control.leases = [lease(5, 60), lease(6, 60)]
    await agent.task("t5", gpu=0, token=5)
    await agent.task("t6", gpu=0, token=6)
    control.leases = [lease(6, 60)]
    assert (await agent.ended("t5"))["state"] == "fenced"
    assert (await agent.view("t6"))["task"]["state"] == "running"


@pytest.mark.parametrize("trouble", ["down", "silent", "impostor"])
async def test_work_ends_with_its_lease_when_the_control_plane_is_away(
    agent: AgentProcess, control: FakeControl, trouble: str
) -> None:
    control.leases = [lease(5, 1.0)]
    await agent.task("t1", gpu=0, token=5)
    pid = agent.pid_of("t1")
    await control.beat()
    assert alive(pid)
    match trouble:
        case "down":
            control.status = 503
        case "silent":
            control.stall = 60
        case "impostor":
            control.impostor = True
    at = time.monotonic()
    task = await agent.ended("t1", 10)
    assert task["state"] == "fenced" and not alive(pid)
    assert time.monotonic() - at < 3
    control.status, control.stall, control.impostor = 200, 0, False
    control.leases = [lease(6)]
    assert (await agent.task("t2", gpu=0, token=6)).status_code in {200, 503}


async def test_work_without_a_lease_ends_too_when_it_was_given_a_limit(
    agent: AgentProcess, control: FakeControl
) -> None:
    await agent.task("short", lease_seconds=0.8)
    await agent.task("long")
    await control.beat()
    control.status = 503
    assert (await agent.ended("short"))["state"] == "fenced"
    assert (await agent.view("long"))["task"]["state"] == "running"


async def test_work_dies_at_the_end_of_its_lease_even_while_the_agent_is_frozen(
    agent: AgentProcess, control: FakeControl
) -> None:
    control.leases = [lease(5, 1.0)]
    await agent.task("t1", gpu=0, token=5)
    pid = agent.pid_of("t1")
    agent.signal(signal.SIGSTOP)
    await until(lambda: not alive(pid), seconds=5, what="the warden ends the work by itself")
    control.leases = []
    agent.signal(signal.SIGCONT)
    assert (await agent.ended("t1"))["state"] == "fenced"


async def test_a_zombie_that_wakes_up_starts_nothing_under_its_old_lease(
    agent: AgentProcess, control: FakeControl
) -> None:
    control.leases = [lease(5, 0.5)]
    await control.beat()
    agent.signal(signal.SIGSTOP)
    waiting = asyncio.create_task(agent.task("late", gpu=0, token=5))
    control.leases = []
    await asyncio.sleep(0.8)
    agent.signal(signal.SIGCONT)
    answer = await waiting
    assert answer.status_code == 409, answer.text
    assert agent.journal("started") == []


async def test_work_dies_with_a_killed_agent_and_the_next_one_knows_of_it(
    agent: AgentProcess, control: FakeControl
) -> None:
    agent.allow(family={"argv": ["python3", "-c", FAMILY]})
    await agent.task("t1", "family")
    grandchild = int((await agent.view("t1", wait=10))["lines"][0])
    pid = agent.pid_of("t1")
    agent.kill()
    await until(lambda: not alive(pid) and not alive(grandchild), seconds=10)
    await agent.start()
    assert (await agent.ended("t1"))["state"] == "lost"
    assert (await agent.task("t1", "family")).json()["state"] == "lost", "never started again"
    assert [x["state"] for x in agent.journal("ended")] == ["lost"]


async def test_work_whose_warden_was_killed_too_is_found_and_ended_at_the_next_start(
    agent: AgentProcess,
) -> None:
    await agent.task("t1")
    pid = agent.pid_of("t1")
    import psutil

    warden = psutil.Process(pid).parent()
    assert warden is not None
    agent.kill()
    warden.kill()
    assert alive(pid)
    await agent.start()
    assert not alive(pid)
    assert (await agent.ended("t1"))["state"] == "lost"


async def test_work_whose_warden_alone_was_killed_is_ended_by_the_agent(
    agent: AgentProcess,
) -> None:
    await agent.task("t1")
    pid = agent.pid_of("t1")
    import psutil

    warden = psutil.Process(pid).parent()
    assert warden is not None
    warden.kill()
    assert (await agent.ended("t1"))["state"] == "lost"
    assert not alive(pid)


async def test_an_agent_that_is_told_to_end_ends_its_work_first(agent: AgentProcess) -> None:
    await agent.task("t1")
    pid = agent.pid_of("t1")
    await agent.stop()
    assert not alive(pid)
    assert [x["event"] for x in agent.journal("ended", "closed")][-2:] == ["ended", "closed"]


async def test_the_journal_survives_a_line_that_a_crash_cut_off(
    joined: Callable[..., Awaitable[AgentProcess]],
) -> None:
    agent = await joined()
    agent.kill()
    with (agent.home / "journal.jsonl").open("a") as file:
        file.write('{"event": "acc')
    await agent.start()
    lines = (agent.home / "journal.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["event"] == "opened"
