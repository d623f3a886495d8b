"""Services that agents look after: started, stopped, read and installed, on real agents."""

import asyncio
import hashlib
import io
import json
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nebula.auth.principal import Principal
from nebula.errors import (
    ApprovalRequired,
    Conflict,
    NotFound,
    PermissionDenied,
    UpstreamUnavailable,
)
from nebula.jobs.job import JobState
from nebula.policy.labels import Label
from nebula.settings import Settings
from nebula.tool.render import to_markdown
from tests.fakes.serve import serve
from tests.node.agent import AgentProcess, alive, free_port, until
from tests.tools.nodes.lab import Lab, open_lab

SERVER = """
import http.server, sys
print("tiny serves", flush=True)
http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def web(port: int, **more: Any) -> dict[str, Any]:
    argv = ["python3", "-u", "-m", "http.server", "--bind", "{bind}", str(port)]
    return {"argv": argv, "port": port, "autostart": False, **more}


@pytest.fixture
async def lab(settings: Settings, tmp_path: Path) -> AsyncIterator[Lab]:
    async with open_lab(settings, tmp_path / "machines") as opened:
        yield opened


class Files:
    """A server of files that may be broken or gone."""

    def __init__(self) -> None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("server.py", SERVER)
        self.archive = packed.getvalue()
        self.sums = f"{hashlib.sha256(self.archive).hexdigest()}  tiny.zip\n"
        self.app = Starlette(routes=[Route("/{name}", self._get)])

    async def _get(self, request: Request) -> Response:
        found = {"tiny.zip": self.archive, "sha256sum.txt": self.sums.encode()}
        name = request.path_params["name"]
        return Response(found[name]) if name in found else Response(status_code=404)


Tiny = Callable[..., Awaitable[AgentProcess]]


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
async def tiny(lab: Lab, files: Files) -> AsyncIterator[Tiny]:
    """Give a function that joins a machine whose owner has a recipe of his own."""
    async with serve(files.app) as url:

        async def make(**more: Any) -> AgentProcess:
            recipe = {
                "kind": "http",
                "version": 1.0,
                "port": free_port(),
                "disk_gb": 0.01,
                "steps": [
                    ["{python}", "-m", "node.fetch", "download", f"{url}/tiny.zip", "tiny.zip",
                     "--sums", f"{url}/sha256sum.txt"],
                    ["{python}", "-m", "node.fetch", "unpack", "tiny.zip", "app"],
                ],
                "service": {"argv": ["{python}", "{folder}/app/server.py", "{bind}", "{port}"]},
                **more,
            }  # fmt: skip
            folder = lab.folder / "pc" / "recipes"
            folder.mkdir(parents=True)
            (folder / "tiny.yml").write_text(json.dumps(recipe))
            return await lab.agent(recipes=["tiny"])

        yield make


def left(agent: AgentProcess) -> list[str]:
    """Return what is there of installations."""
    places = [agent.home / "installed", agent.home / "services.d"]
    return [p.name for place in places if place.exists() for p in place.iterdir()]


async def test_services_start_stop_restart_and_logs_reach_the_machine(
    lab: Lab, developer: Principal, viewer: Principal
) -> None:
    port = free_port()
    agent = await lab.agent(services={"web": web(port)})
    started = await lab.call(developer, "services_start", service="web")
    assert (started.node, started.service) == ("pc", "web")
    await _answers(agent, port)
    first = agent.journal("service_started")[-1]["pid"]
    await lab.call(developer, "services_restart", service="Web", node="pc")
    await _answers(agent, port)
    assert not alive(first)
    shown = await lab.call(viewer, "services_logs", service="web")
    assert "HTTP" in to_markdown(shown.render())
    stopped = await lab.call(developer, "services_stop", service="web")
    assert stopped.state == "stopped" and "is stopped" in to_markdown(stopped.render())
    assert not alive(agent.journal("service_started")[-1]["pid"])
    for tool in ("services_start", "services_stop", "services_restart"):
        with pytest.raises(PermissionDenied):
            await lab.call(viewer, tool, service="web")
    with pytest.raises(NotFound, match="looks after 'nothing'"):
        await lab.call(developer, "services_start", service="nothing")


async def test_services_list_has_what_only_a_machine_knows(
    lab: Lab, developer: Principal, viewer: Principal
) -> None:
    port = free_port()
    await lab.agent(services={"my-api": web(port)})
    await lab.call(developer, "services_start", service="my-api")

    async def state() -> str:
        found = await lab.call(viewer, "services_list", service="my-api")
        assert found.origin() is Label.OUTSIDE, "the machine named it itself"
        (entry,) = found.services
        assert (entry.node, entry.address) == ("pc", f"127.0.0.1:{port}")
        return str(entry.state)

    async with asyncio.timeout(20):
        while await state() != "up":
            await asyncio.sleep(0.1)
    everything = await lab.call(viewer, "services_list", node="pc", state="up")
    assert "my-api" in [s.name for s in everything.services]
    with pytest.raises(NotFound):
        await lab.call(viewer, "services_list", service="no such thing at all")


async def _answers(agent: AgentProcess, port: int) -> None:
    def up() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}", trust_env=False, timeout=1).is_success
        except httpx.HTTPError:
            return False

    await until(up, what="the service answers")


async def test_a_service_on_two_machines_must_be_named_with_its_machine(
    lab: Lab, developer: Principal
) -> None:
    for name in ("one", "two"):
        await lab.agent(name, services={"web": web(free_port())})
    with pytest.raises(Conflict, match="web on one, web on two"):
        await lab.call(developer, "services_start", service="web")
    done = await lab.call(developer, "services_start", service="web", node="two")
    assert done.node == "two"


async def test_a_service_on_a_machine_that_is_away_says_so(lab: Lab, developer: Principal) -> None:
    agent = await lab.agent(services={"web": web(free_port())})
    agent.kill()
    for tool in ("services_start", "services_stop", "services_restart", "services_logs"):
        with pytest.raises(UpstreamUnavailable, match="does not answer"):
            await lab.call(developer, tool, service="web")


async def test_services_deploy_ai_works_installs_starts_and_survives_a_restart_of_the_agent(
    lab: Lab, developer: Principal, tiny: Tiny
) -> None:
    agent = await tiny()
    job = await lab.job(developer, "services_deploy_ai", service="Tiny", node="pc")
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result is not None and job.result["version"] == "1.0"
    log = await lab.log(developer, job.id)
    assert any(line.startswith("step 1 of 2") for line in log), log
    await _answers(agent, job.result["port"])
    await agent.stop()
    await agent.start()
    await _answers(agent, job.result["port"])
    job = await lab.job(developer, "services_deploy_ai", service="tiny", node="pc")
    assert job.state is JobState.SUCCEEDED, "installed already is fine"


async def test_services_deploy_ai_is_denied_to_those_who_only_look(
    lab: Lab, viewer: Principal
) -> None:
    with pytest.raises(PermissionDenied):
        await lab.call(viewer, "services_deploy_ai", service="tiny", node="pc")


async def test_services_deploy_ai_waits_for_approval_and_installs_nothing_before(
    lab: Lab, developer: Principal, tiny: Tiny
) -> None:
    agent = await tiny()
    with pytest.raises(ApprovalRequired):
        await lab.call(developer, "services_deploy_ai", service="tiny", node="pc")
    assert agent.journal("accepted") == [] and left(agent) == []
    [asked] = await lab.app.parts.approvals.list(developer, state=None)
    assert "disk it takes" in str(asked.evidence.preview) and "pc" in str(asked.resources)


async def test_services_deploy_ai_with_files_or_machine_away_fails_and_leaves_nothing(
    lab: Lab, developer: Principal, tiny: Tiny, files: Files
) -> None:
    agent = await tiny()
    files.sums = f"{'0' * 64}  tiny.zip\n"
    job = await lab.job(developer, "services_deploy_ai", service="tiny", node="pc")
    assert job.state is JobState.FAILED and job.error is not None
    assert "failed with the code 1" in str(job.error["detail"])
    assert any("not what was published" in x for x in await lab.log(developer, job.id))
    assert left(agent) == []
    agent.kill()
    with pytest.raises(UpstreamUnavailable):
        await lab.call(developer, "services_deploy_ai", service="tiny", node="pc")


async def test_what_is_installed_but_never_answers_is_removed_again(
    lab: Lab, developer: Principal, tiny: Tiny
) -> None:
    broken = {"argv": ["{python}", "-c", "print('no model here'); raise SystemExit(2)"]}
    agent = await tiny(service=broken)
    job = await lab.job(developer, "services_deploy_ai", service="tiny", node="pc")
    assert job.state is JobState.FAILED and job.error is not None
    assert "no model here" in str(job.error["detail"])
    assert left(agent) == []


async def test_disk_card_and_the_owners_word_are_checked_before_anything_is_fetched(
    lab: Lab, developer: Principal, tiny: Tiny
) -> None:
    agent = await tiny(disk_gb=10_000_000, vram_gb=0)
    with pytest.raises(Conflict, match="of disk"):
        await lab.call(developer, "services_deploy_ai", service="tiny", node="pc")
    assert await lab.app.parts.approvals.list(developer, state=None) == [], "nobody is asked"
    with pytest.raises(NotFound, match="does not install 'ollama'"):
        await lab.call(developer, "services_deploy_ai", service="ollama", node="pc")
    assert agent.journal("accepted") == []
