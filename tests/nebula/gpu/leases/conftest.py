"""A simulated machine with a 12 GB card, its ledger, and what uses it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import pytest

from nebula.db.engine import Database
from nebula.events.bus import Events
from nebula.gpu.leases.settings import LeaseSettings
from nebula.gpu.nvml import Nvml
from nebula.gpu.open import Gpu, open_gpu
from nebula.gpu.reports import Limits
from nebula.settings import Settings
from tests.fakes.nvml import FakeNvml
from tests.fakes.wire import Wire

QUICK = Limits(lock=5.0, busy=0.2, freed=0.2, load=5.0, poll=0.01)
PROMPT = LeaseSettings(
    _env_file=None,
    lease_seconds=3.0,
    grace_seconds=0.3,
    pickup_seconds=5.0,
    poll_seconds=0.05,
    observe_seconds=0.2,
    wait_seconds=10.0,
)

MAP = """\
nodes:
  - name: lab
    simulated: true
    time_scale: 0
    reserve: 512 MB
    gpus: [{vram: 12 GB}]
    starts_with: ["llama3.1:8b"]
services:
  - name: ollama
    kind: ollama
    node: lab
    models:
      - {name: "llama3.1:8b", vram: 5.5 GB, load_seconds: 6, aliases: [llama, chat]}
      - {name: "llama3.2:3b", vram: 2.5 GB, load_seconds: 3}
      - {name: embedder, vram: 1.5 GB, pinned: true}
  - name: comfyui
    kind: comfyui
    node: lab
    vram: 7 GB
    models:
      - {name: SDXL, vram: 7 GB, load_seconds: 9}
      - {name: FLUX, vram: 11 GB, load_seconds: 20}
"""

OpenGpu = Callable[..., AbstractAsyncContextManager[Gpu]]


@pytest.fixture
def open_lab(settings: Settings, wire: Wire) -> OpenGpu:
    """Give a function that opens one process's view of the machine."""

    @asynccontextmanager
    async def opened(
        text: str = MAP,
        *,
        nvml: FakeNvml | None = None,
        limits: Limits = QUICK,
        lease_settings: LeaseSettings = PROMPT,
    ) -> AsyncIterator[Gpu]:
        settings.service_map.write_text(text)
        library = nvml or FakeNvml(cards=[])
        async with (
            httpx.AsyncClient(transport=wire) as http,
            Database(settings.database_url) as db,
            Events(db) as events,
            open_gpu(
                settings,
                http,
                db,
                events,
                nvml=Nvml(lambda: library),
                limits=limits,
                lease_settings=lease_settings,
                watch=False,
            ) as parts,
        ):
            yield parts

    return opened
