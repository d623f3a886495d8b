"""An open App with Ollama, ComfyUI and both hubs on the test's network, and a worker."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from nebula.app import App, open_app
from nebula.auth.principal import Caller, Principal, Surface
from nebula.errors import ApprovalRequired
from nebula.jobs.job import Job, JobHandle
from nebula.jobs.worker import open_worker
from nebula.services.sizes import GIB
from nebula.settings import Settings
from tests.fakes.civitai import CivitFile, CivitModel, CivitVersion, FakeCivitAI
from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.huggingface import FakeHuggingFace, Repo
from tests.fakes.ollama import FakeOllama
from tests.fakes.serve import serve
from tests.fakes.wire import Wire

SDXL = bytes(range(256)) * 600
TINY = b"lora" * 5000

MAP = """\
nodes:
  - name: pc
  - name: attic
    address: attic.test
  - name: lab
    simulated: true
    time_scale: 0
    gpus: [{{vram: 12 GB}}]
services:
  - name: ollama
    kind: ollama
    node: pc
    url: {ollama}
    models:
      - {{name: "llama3.1:8b", vram: 5.5 GB, aliases: [llama]}}
  - name: comfyui
    kind: comfyui
    node: pc
    url: http://comfy.test:8188
    models_folder: {folder}
    aliases: [Stable Diffusion]
    models:
      - {{name: SDXL, vram: 7 GB, checkpoint: sdxl.safetensors}}
  - name: attic-comfyui
    kind: comfyui
    node: attic
    models_folder: /srv/ComfyUI/models
  - name: toy
    kind: ollama
    node: lab
    models:
      - {{name: "toy:1b", vram: 1 GB}}
"""


class House:
    """The test's world: fakes, folders, and running tools as a person."""

    def __init__(self, app: App, folder: Path) -> None:
        self.app = app
        self.folder = folder
        self.ollama = FakeOllama()
        self.comfy = FakeComfyUI({"sdxl.safetensors": 6 * GIB, "far.safetensors": GIB}, folders={})
        self.hub = FakeHuggingFace()
        self.civitai = FakeCivitAI()

    async def run(self, who: Principal, name: str, /, call_id: str = "", **arguments: Any) -> Any:
        caller = Caller(who, Surface.CHAT)
        return await self.app.executor.execute(
            name, arguments, caller=caller, call_id=call_id or uuid4().hex
        )

    async def approved(self, who: Principal, name: str, /, **arguments: Any) -> Any:
        """Run a tool that waits for a person, approve it, and run it again."""
        call_id = uuid4().hex
        with pytest.raises(ApprovalRequired) as waiting:
            await self.run(who, name, call_id=call_id, **arguments)
        await self.app.parts.approvals.decide(
            waiting.value.approval_id, decision="approve", by=who, surface=Surface.CHAT
        )
        return await self.run(who, name, call_id=call_id, **arguments)

    async def job(self, who: Principal, /, **arguments: Any) -> Job:
        """Download something and wait for the job's end."""
        handle = await self.run(who, "models_download", **arguments)
        assert isinstance(handle, JobHandle)
        return await self.app.parts.jobs.wait(handle.job_id, who, 30)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "ComfyUI" / "models"
    (made / "checkpoints").mkdir(parents=True)
    return made


@pytest.fixture(autouse=True)
def _limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in {
        "JARVIS_MODELS_RETRY_SECONDS": "0",
        "JARVIS_MODELS_STALL_SECONDS": "20",
        "JARVIS_MODELS_ATTEMPTS": "3",
        "JARVIS_MODELS_DISK_RESERVE": "1 MB",
        "HF_TOKEN": "hf_good",
        "CIVITAI_TOKEN": "civit-key",
    }.items():
        monkeypatch.setenv(name, value)
    yield


@pytest.fixture
async def house(
    settings: Settings, wire: Wire, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        hub, civitai, ollama = FakeHuggingFace(), FakeCivitAI(), FakeOllama()
        urls = [await stack.enter_async_context(serve(each)) for each in (hub, civitai, ollama)]
        # Delivery networks are other hosts; here they are the same fakes on ports of their own.
        hub.cdn = await stack.enter_async_context(serve(hub))
        civitai.cdn = await stack.enter_async_context(serve(civitai))
        settings.allow_private_fetch = True
        # Files and pulls stream, so these are reached over real ports.
        real = await stack.enter_async_context(httpx.AsyncHTTPTransport())
        for url in (*urls, hub.cdn, civitai.cdn):
            wire.mount(url, real)
        monkeypatch.setenv("HF_ENDPOINT", urls[0])
        monkeypatch.setenv("JARVIS_MODELS_CIVITAI_ENDPOINT", urls[1])
        settings.ollama_host = urls[2]
        settings.service_map.write_text(MAP.format(ollama=urls[2], folder=folder))
        app = await stack.enter_async_context(open_app(settings, http_transport=wire))
        made = House(app, folder)
        made.hub, made.civitai, made.ollama = hub, civitai, ollama
        wire.mount("http://comfy.test:8188", made.comfy)
        stock(made)
        await stack.enter_async_context(open_worker(app, 2, grace_seconds=0.5))
        yield made


def stock(house: House) -> None:
    """Fill the hubs."""
    house.hub.repos = {
        "stab/sdxl-turbo": Repo(
            {
                "sdxl_turbo.safetensors": SDXL,
                "README.md": b"# read me",
                "unet/model.safetensors": SDXL[:-5],
                "unet/config.json": b'{"a": 1}',
            }
        ),
        "stab/gated-xl": Repo({"gated.safetensors": SDXL[:-1]}, gated="manual"),
        "old/pickled": Repo({"old.ckpt": SDXL[:-2]}),
        "words/mistral-GGUF": Repo(
            {"m.Q4_K_M.gguf": SDXL[:-3]},
            tags=("gguf", "text-generation"),
            pipeline_tag="text-generation",
        ),
        "two/files": Repo({"a.safetensors": SDXL[:-4], "b.safetensors": SDXL[:-6]}),
        "evil/climber": Repo({"../../../etc/cron.d/x.safetensors": SDXL}),
    }
    pixel = CivitVersion(900, "v2", [CivitFile("pixel v2.safetensors", TINY)])
    older = CivitVersion(899, "v1", [CivitFile("pixel v1.safetensors", TINY[:-1])])
    house.civitai.models = {
        m.id: m
        for m in (
            CivitModel(12, "Pixel Art", [pixel, older]),
            CivitModel(13, "Pixel Secret", [CivitVersion(913, "v1", [CivitFile("s.safetensors", TINY[:-2])])], needs_key=True),
            CivitModel(14, "Pixel Virus", [CivitVersion(914, "v1", [CivitFile("v.safetensors", TINY[:-3], scan="Danger")])]),
            CivitModel(15, "Pixel Odd", [CivitVersion(915, "v1", [CivitFile("o.safetensors", TINY[:-4], kilobytes=19.5, by_type_missing=True)])]),
            CivitModel(17, "Climber", [CivitVersion(917, "v1", [CivitFile("../../../etc/cron.d/\u202ex.safetensors", TINY)])]),
            CivitModel(16, "Pixel Nude", [CivitVersion(916, "v1", [CivitFile("n.safetensors", TINY)])], nsfw=True),
        )
    }  # fmt: skip
