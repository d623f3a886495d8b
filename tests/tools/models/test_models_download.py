"""models_download through the executor, as a job, from each source to where it belongs."""

import asyncio
from pathlib import Path

import pytest

from nebula.auth.principal import Principal
from nebula.errors import PermissionDenied
from nebula.jobs.job import JobHandle, JobState
from nebula.tool.render import to_markdown
from tests.fakes.ollama import LLAMA_3B
from tests.tools.models.conftest import SDXL, TINY, House
from tools.models.schemas import DownloadReport


def report(result: object) -> DownloadReport:
    return DownloadReport.model_validate(result)


async def test_models_download_of_a_hugging_face_file_goes_to_the_right_folder_checked(
    house: House, admin: Principal
) -> None:
    job = await house.job(admin, model="stab/sdxl-turbo")
    assert job.state is JobState.SUCCEEDED, job.error
    stored = house.folder / "checkpoints" / "sdxl_turbo.safetensors"
    assert stored.read_bytes() == SDXL
    told = report(job.result)
    assert (told.service, told.node, told.kind) == ("comfyui", "pc", "checkpoints")
    assert told.files[0].verified and told.files[0].path == str(stored)
    assert "verified" in to_markdown(told.render())


async def test_models_download_twice_fetches_once(house: House, admin: Principal) -> None:
    await house.job(admin, model="stab/sdxl-turbo")
    sent = house.hub.files.sent
    job = await house.job(admin, model="https://huggingface.co/stab/sdxl-turbo")
    assert report(job.result).files[0].already
    assert house.hub.files.sent == sent
    assert "nothing was fetched" in to_markdown(report(job.result).render())


async def test_a_pattern_brings_several_files_into_a_folder_of_their_own(
    house: House, admin: Principal
) -> None:
    job = await house.job(admin, model="stab/sdxl-turbo", file="unet/*", kind="diffusers")
    assert job.state is JobState.SUCCEEDED, job.error
    base = house.folder / "diffusers" / "sdxl-turbo" / "unet"
    assert (base / "model.safetensors").read_bytes() == SDXL[:-5]
    assert (base / "config.json").read_bytes() == b'{"a": 1}'


async def test_a_gated_model_needs_a_token_that_never_reaches_the_delivery_network(
    house: House, admin: Principal
) -> None:
    job = await house.job(admin, model="stab/gated-xl")
    assert job.state is JobState.SUCCEEDED, job.error
    house.hub.token = "another"
    refused = await house.job(admin, model="stab/gated-xl", name="again")
    assert refused.state is JobState.FAILED and refused.error is not None
    assert refused.error["code"] == "permission_denied"
    assert "HF_TOKEN" in refused.error["hint"]
    assert "hf_good" not in str(refused.error)


async def test_a_download_that_was_cancelled_goes_on_when_asked_again(
    house: House, admin: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = house.hub.files.faults
    faults.drop_after, house.hub.files.hold = 80_000, asyncio.Event()
    handle = await house.run(admin, "models_download", model="stab/sdxl-turbo")
    assert isinstance(handle, JobHandle)
    await house.hub.files.stalled.wait()
    folder = house.folder / "checkpoints"
    await _until(lambda: any(folder.glob("*.part")))
    await house.app.parts.jobs.cancel(handle.job_id, admin)
    job = await house.app.parts.jobs.wait(handle.job_id, admin, 20)
    assert job.state is JobState.CANCELLED
    await asyncio.wait_for(house.hub.files.left.wait(), 10)
    (part,) = folder.glob("*.part")
    kept = part.stat().st_size
    assert 0 < kept < len(SDXL)
    listed = await house.run(admin, "models_list", service="comfyui")
    assert [m.name for m in listed.models if m.partial] == [part.name]
    house.hub.files.hold = None
    again = await house.job(admin, model="stab/sdxl-turbo")
    assert again.state is JobState.SUCCEEDED, again.error
    assert house.hub.files.ranges[-1] == f"bytes={kept}-"
    assert (folder / "sdxl_turbo.safetensors").read_bytes() == SDXL


async def _until(true: object) -> None:
    assert callable(true)
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


async def test_the_progress_of_a_download_reaches_its_job(house: House, admin: Principal) -> None:
    handle = await house.run(admin, "models_download", model="stab/sdxl-turbo")
    job = await house.app.parts.jobs.wait(handle.job_id, admin, 20)
    assert job.progress.fraction == 1.0
    assert "sdxl_turbo" in job.progress.message


@pytest.mark.parametrize(
    ("model", "more", "code", "said"),
    [
        ("two/files", {}, "invalid_input", "a.safetensors"),
        ("old/pickled", {}, "invalid_input", "run code"),
        ("words/mistral-GGUF", {}, "invalid_input", "hf.co/words/mistral-GGUF"),
        ("stab/nothing", {}, "permission_denied", "stab/nothing"),
        ("stab/sdxl-turbo", {"file": "no.safetensors"}, "not_found", "sdxl_turbo.safetensors"),
        ("stab/sdxl-turbo", {"service": "attic-comfyui"}, "conflict", "attic"),
        ("stab/sdxl-turbo", {"service": "ollama"}, "conflict", "ollama"),
        ("stab/sdxl-turbo", {"node": "mars"}, "not_found", "pc, attic, lab"),
        ("civitai:14", {}, "invalid_input", "Danger"),
        ("civitai:14", {"file": "v.safetensors"}, "permission_denied", "Danger"),
        ("civitai:99", {}, "not_found", "99"),
        ("civitai:12@5", {}, "invalid_input", "900 v2"),
        ("https://evil.example/model.safetensors", {}, "invalid_input", "owner/name"),
        ("evil.example/a/b:latest", {"source": "ollama"}, "invalid_input", "OLLAMA_REGISTRIES"),
        ("missing:1b", {}, "not_found", "ollama.com/library"),
    ],
)
async def test_what_cannot_be_fetched_says_why_and_what_to_do(
    house: House, admin: Principal, model: str, more: dict[str, str], code: str, said: str
) -> None:
    job = await house.job(admin, model=model, **more)
    assert job.state is JobState.FAILED and job.error is not None
    assert job.error["code"] == code, job.error
    assert said in f"{job.error['detail']} {job.error.get('hint', '')}"
    assert list(house.folder.rglob("*.*")) == []


async def test_a_name_that_climbs_stays_in_the_folder(house: House, admin: Principal) -> None:
    job = await house.job(admin, model="civitai:17")
    assert job.state is JobState.SUCCEEDED, job.error
    (stored,) = [p for p in house.folder.parent.parent.rglob("*") if p.suffix == ".safetensors"]
    assert stored == house.folder / "loras" / "x.safetensors"
    job = await house.job(admin, model="evil/climber", file="*", kind="checkpoints")
    assert job.error is not None and job.error["code"] == "invalid_input"


async def test_a_folder_that_is_a_link_is_not_followed(
    house: House, admin: Principal, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (house.folder / "loras").symlink_to(outside)
    job = await house.job(admin, model="civitai:12")
    assert job.error is not None and job.error["code"] == "permission_denied"
    assert list(outside.iterdir()) == []
    text = house.app.parts.settings.service_map.read_text()
    own = text.replace(
        "    aliases: [Stable", f"    folders: {{loras: {outside}}}\n    aliases: [Stable"
    )
    house.app.parts.settings.service_map.write_text(own)
    job = await house.job(admin, model="civitai:12")
    assert job.state is JobState.SUCCEEDED, job.error
    assert (outside / "pixel v2.safetensors").read_bytes() == TINY


async def test_a_civitai_lora_goes_to_loras_and_tells_its_words(
    house: House, admin: Principal
) -> None:
    job = await house.job(admin, model="https://civitai.com/models/12/pixel?modelVersionId=899")
    assert job.state is JobState.SUCCEEDED, job.error
    assert (house.folder / "loras" / "pixel v1.safetensors").read_bytes() == TINY[:-1]
    assert report(job.result).trained_words == ["pixelstyle"]
    assert all("civit-key" not in url for url in house.civitai.asked), "never in an address"


async def test_a_civitai_model_behind_a_key_is_fetched_with_the_header_only(
    house: House, admin: Principal
) -> None:
    job = await house.job(admin, model="civitai:13")
    assert job.state is JobState.SUCCEEDED, job.error
    assert (house.folder / "loras" / "s.safetensors").read_bytes() == TINY[:-2]
    house.civitai.key = "another"
    refused = await house.job(admin, model="civitai:13", name="other")
    assert refused.error is not None and "CIVITAI_TOKEN" in refused.error["hint"]


async def test_civitais_rounded_size_and_missing_address_do_not_matter(
    house: House, admin: Principal
) -> None:
    job = await house.job(admin, model="civitai:15")
    assert job.state is JobState.SUCCEEDED, job.error
    assert (house.folder / "loras" / "o.safetensors").read_bytes() == TINY[:-4]
    assert house.civitai.asked[-1].endswith("?fileId=9150")


async def test_a_hub_that_redirects_downloads_inside_is_refused(
    house: House, admin: Principal
) -> None:
    house.civitai.elsewhere = "http://169.254.169.254/latest/meta-data"
    job = await house.job(admin, model="civitai:12")
    assert job.error is not None and job.error["code"] == "permission_denied"


async def test_models_download_pulls_into_ollama_with_progress(
    house: House, admin: Principal
) -> None:
    job = await house.job(admin, model="llama3.2:1b")
    assert job.state is JobState.SUCCEEDED, job.error
    told = report(job.result)
    assert (told.service, told.kind) == ("ollama", "language")
    assert told.size_gb == round(LLAMA_3B.size / 2**30, 2)
    assert "llama3.2:1b" in house.ollama.server.installed


async def test_cancelling_a_pull_leaves_the_stream_so_that_ollama_stops(
    house: House, admin: Principal
) -> None:
    house.ollama.server.pulls.stalls = 1
    handle = await house.run(admin, "models_download", model="slow:7b")
    await asyncio.wait_for(house.ollama.server.pulls.stalled.wait(), 10)
    await house.app.parts.jobs.cancel(handle.job_id, admin)
    job = await house.app.parts.jobs.wait(handle.job_id, admin, 20)
    assert job.state is JobState.CANCELLED
    await asyncio.wait_for(house.ollama.server.left.wait(), 10)
    assert "slow:7b" not in house.ollama.server.installed


async def test_models_download_is_denied_to_who_may_only_look(
    house: House, viewer: Principal
) -> None:
    with pytest.raises(PermissionDenied):
        await house.run(viewer, "models_download", model="stab/sdxl-turbo")
    assert house.hub.asked == []
