"""models_download and models_delete on another machine, through a real agent."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nebula.auth.principal import Caller, Principal, Surface
from nebula.errors import (
    ApprovalRequired,
    NebulaError,
    NotFound,
    PermissionDenied,
    UpstreamUnavailable,
)
from nebula.jobs.job import Job, JobHandle, JobState
from nebula.settings import Settings
from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.huggingface import FakeHuggingFace, Repo
from tests.fakes.ollama import FakeOllama
from tests.fakes.serve import serve
from tests.node.agent import AgentProcess
from tests.tools.models.conftest import SDXL
from tests.tools.nodes.lab import Lab, open_lab
from tools.models.schemas import DeleteReport, DownloadReport

SERVICE = """\
services:
  - name: far-comfy
    kind: comfyui
    node: pc
    url: http://127.0.0.1:1
"""

SERVICES = """\
services:
  - {{name: far-comfy, kind: comfyui, node: pc, url: "{comfy}"}}
  - {{name: far-ollama, kind: ollama, node: pc, url: "{ollama}"}}
"""


@pytest.fixture
async def hub(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> AsyncIterator[FakeHuggingFace]:
    fake = FakeHuggingFace({"stab/xl": Repo({"xl.safetensors": SDXL}, gated="auto")})
    async with serve(fake) as url, serve(fake) as cdn:
        fake.cdn = cdn
        monkeypatch.setenv("HF_ENDPOINT", url)
        settings.allow_private_fetch = True
        yield fake


@pytest.fixture
async def lab(hub: FakeHuggingFace, settings: Settings, tmp_path: Path) -> AsyncIterator[Lab]:
    async with open_lab(settings, tmp_path / "machines") as opened:
        yield opened


async def fetch(lab: Lab, who: Principal, **arguments: str) -> Job:
    handle = await lab.call(who, "models_download", model="stab/xl", **arguments)
    assert isinstance(handle, JobHandle)
    return await lab.app.parts.jobs.wait(handle.job_id, who, 60)


async def add_service(lab: Lab, text: str = SERVICE) -> None:
    services = lab.app.parts.services
    services.path.write_text(services.path.read_text() + text)
    await services.refresh()
    assert not services.problems


async def test_models_download_onto_another_machine_goes_through_its_agent_without_a_token(
    lab: Lab, admin: Principal, hub: FakeHuggingFace, tmp_path: Path
) -> None:
    far = tmp_path / "far"
    far.mkdir()
    agent = await lab.agent("pc", models={"comfyui": str(far)})
    await add_service(lab)
    job = await fetch(lab, admin)
    assert job.state is JobState.SUCCEEDED, job.error
    assert (far / "checkpoints" / "xl.safetensors").read_bytes() == SDXL
    told = DownloadReport.model_validate(job.result)
    assert (told.service, told.node) == ("far-comfy", "pc")
    assert told.files[0].verified and not told.files[0].already
    assert hub.files.authorizations[-1] is None
    assert "hf_good" not in (agent.home / "journal.jsonl").read_text()
    again = DownloadReport.model_validate((await fetch(lab, admin)).result)
    assert again.files[0].already
    hub.files.faults.corrupt = True
    damaged = await fetch(lab, admin, name="other")
    assert damaged.error is not None and damaged.error["code"] == "upstream_rejected"
    assert "not what was published" in damaged.error["detail"]
    assert not (far / "checkpoints" / "other.safetensors").exists()


async def test_a_machine_whose_owner_names_no_folder_says_how_to(
    lab: Lab, admin: Principal
) -> None:
    await lab.agent("pc")
    await add_service(lab)
    job = await fetch(lab, admin, service="far-comfy")
    assert job.error is not None and job.error["code"] == "permission_denied"
    assert "config.yml" in job.error["hint"]


@dataclass
class Far:
    """A machine with ComfyUI and Ollama that joined."""

    agent: AgentProcess
    folder: Path
    comfy: FakeComfyUI
    ollama: FakeOllama

    def own(self, **config: Any) -> None:
        """Write its owner's config.yml."""
        self.agent.configure(models={"comfyui": str(self.folder)}, **config)


@pytest.fixture
async def far(lab: Lab, tmp_path: Path) -> AsyncIterator[Far]:
    folder = tmp_path / "far"
    (folder / "loras").mkdir(parents=True)
    (folder / "loras" / "old.safetensors").write_bytes(SDXL)
    comfy = FakeComfyUI({}, folders={"loras": ["old.safetensors", "gone.safetensors"]})
    ollama = FakeOllama()
    agent = await lab.agent("pc", models={"comfyui": str(folder)}, delete_models=True)
    async with serve(comfy) as comfy_url, serve(ollama) as ollama_url:
        await add_service(lab, SERVICES.format(comfy=comfy_url, ollama=ollama_url))
        yield Far(agent, folder, comfy, ollama)


async def test_models_delete_on_another_machine_shows_the_file_and_goes_through_its_agent(
    lab: Lab, admin: Principal, far: Far
) -> None:
    call = {"model": "old.safetensors", "service": "far-comfy"}
    caller, run = Caller(admin, Surface.REST), lab.app.executor.execute
    with pytest.raises(ApprovalRequired) as waiting:
        await run("models_delete", call, caller=caller, call_id="d1")
    approvals = lab.app.parts.approvals
    card = await approvals.get(waiting.value.approval_id, admin)
    shown = str(card)
    assert str(far.folder / "loras" / "old.safetensors") in shown and f"{len(SDXL):,}" in shown
    assert (far.folder / "loras" / "old.safetensors").exists(), "nobody approved yet"
    await approvals.decide(card.id, decision="approve", by=admin, surface=Surface.TERMINAL)
    done = DeleteReport.model_validate(
        (await run("models_delete", call, caller=caller, call_id="d1")).model_dump()
    )
    assert (done.model, done.node) == ("old.safetensors", "pc")
    assert not (far.folder / "loras" / "old.safetensors").exists()
    with pytest.raises(NotFound, match="is not in"):
        await lab.call(admin, "models_delete", model="gone.safetensors")
    # Ollama's own door deletes its models, wherever it runs.
    before = {m.name for m in (await lab.call(admin, "models_list", service="far-ollama")).models}
    await lab.approved(admin, "models_delete", model=min(before), service="far-ollama")
    after = {m.name for m in (await lab.call(admin, "models_list", service="far-ollama")).models}
    assert before - after == {min(before)}


async def test_a_file_that_changed_after_the_approval_is_not_deleted(
    lab: Lab, admin: Principal, far: Far
) -> None:
    call = {"model": "old.safetensors"}
    caller, run = Caller(admin, Surface.REST), lab.app.executor.execute
    with pytest.raises(ApprovalRequired) as waiting:
        await run("models_delete", call, caller=caller, call_id="d2")
    await lab.app.parts.approvals.decide(
        waiting.value.approval_id, decision="approve", by=admin, surface=Surface.TERMINAL
    )
    (far.folder / "loras" / "old.safetensors").write_bytes(b"another")
    with pytest.raises(NebulaError):
        await run("models_delete", call, caller=caller, call_id="d2")
    assert (far.folder / "loras" / "old.safetensors").read_bytes() == b"another"


async def test_a_machine_that_does_not_let_models_be_deleted_says_which_line_to_write(
    lab: Lab, admin: Principal, viewer: Principal, far: Far
) -> None:
    with pytest.raises(PermissionDenied):
        await lab.call(viewer, "models_delete", model="old.safetensors")
    far.own()
    with pytest.raises(PermissionDenied) as refused:
        await lab.call(admin, "models_delete", model="old.safetensors")
    assert "delete_models: true" in refused.value.hint and "pc" in str(refused.value)
    await far.agent.stop()
    with pytest.raises(UpstreamUnavailable):
        await lab.call(admin, "models_delete", model="old.safetensors")
    assert (far.folder / "loras" / "old.safetensors").exists()
