"""models_download onto another machine, through a real agent."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nebula.auth.principal import Principal
from nebula.jobs.job import Job, JobHandle, JobState
from nebula.settings import Settings
from tests.fakes.huggingface import FakeHuggingFace, Repo
from tests.fakes.serve import serve
from tests.tools.models.conftest import SDXL
from tests.tools.nodes.lab import Lab, open_lab
from tools.models.schemas import DownloadReport

SERVICE = """\
services:
  - name: far-comfy
    kind: comfyui
    node: pc
    url: http://127.0.0.1:1
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


async def add_service(lab: Lab) -> None:
    services = lab.app.parts.services
    services.path.write_text(services.path.read_text() + SERVICE)
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
