"""What the scheduler does by itself: take in the real state, unload the idle, bring models back."""

import asyncio

from sqlalchemy import text

from nebula.gpu.leases.need import GpuNeed
from nebula.gpu.open import Gpu
from nebula.gpu.policy.types import PriorityClass
from nebula.services.map import Target
from nebula.services.sizes import GIB
from nebula.settings import Settings
from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.nvml import FakeCard, FakeNvml
from tests.fakes.ollama import FakeOllama, Installed
from tests.fakes.wire import Wire
from tests.nebula.gpu.leases.conftest import MAP, PROMPT, OpenGpu

REAL = """\
nodes:
  - name: pc
services:
  - name: ollama
    kind: ollama
    node: pc
    url: ${OLLAMA_HOST}
    models:
      - {name: "llama3.1:8b", vram: 5.5 GB, aliases: [llama]}
  - name: comfyui
    kind: comfyui
    node: pc
    url: http://comfy.test:8188
    vram: 7 GB
    models:
      - {name: SDXL, vram: 7 GB, checkpoint: sd_xl_base_1.0.safetensors}
"""

CHAT = GpuNeed(service="ollama", model="llama3.1:8b", klass=PriorityClass.CHAT)
SDXL = GpuNeed(service="comfyui", model="SDXL", klass=PriorityClass.IMAGE)


async def test_what_somebody_loaded_is_adopted_and_what_is_gone_is_dropped(
    open_lab: OpenGpu,
) -> None:
    async with open_lab() as lab:
        await lab.leases.look()
        assert [r.model for r in (await lab.leases.rows()).residents] == ["llama3.1:8b"]
        driver = lab.leases.tools.hands.driver("ollama")
        await driver.unload("llama3.1:8b")
        await driver.load("llama3.2:3b", seconds=5)
        await lab.leases.look()
        rows = await lab.leases.rows()
        assert [(r.model, r.vram) for r in rows.residents] == [("llama3.2:3b", int(2.5 * GIB))]
        assert rows.cards[0].reserved == int(2.5 * GIB)
        kinds = [d.kind for d in await lab.leases.records.decisions()]
    assert sorted(kinds) == ["adopt", "adopt", "drop"]


async def test_other_programs_on_the_card_are_counted(open_lab: OpenGpu) -> None:
    async with open_lab() as lab:
        await lab.leases.look()
        (card,) = (await lab.leases.rows()).cards
    assert card.foreign_used == 400 * 2**20, "the desktop of the simulated card"
    assert card.kept == 512 * 2**20


async def test_a_model_that_nobody_uses_is_unloaded_after_its_time(open_lab: OpenGpu) -> None:
    text_ = MAP.replace("    kind: ollama\n", "    kind: ollama\n    idle_minutes: 10\n", 1)
    async with open_lab(text_) as lab:
        async with lab.leases.hold(CHAT):
            pass
        await _age(lab, minutes=11)
        await lab.scheduler.tick()
        async with asyncio.timeout(10):
            while (await lab.leases.rows()).residents:
                await asyncio.sleep(0.02)
        (newest, *_) = await lab.leases.records.decisions()
    assert newest.reason == "unloaded llama3.1:8b: nobody has used it for 11 minutes"


async def test_a_model_in_use_and_one_that_is_fresh_stay(open_lab: OpenGpu) -> None:
    async with open_lab() as lab:
        await lab.leases.look()
        async with lab.leases.hold(CHAT):
            await _age(lab, minutes=60)
            await lab.scheduler.tick()
            assert [r.state for r in (await lab.leases.rows()).residents] == ["loaded"]


async def test_measurements_replace_the_budget_after_a_few_uses(open_lab: OpenGpu) -> None:
    async with open_lab() as lab:
        footprints = lab.leases.tools.pictures.footprints
        target = Target(service="comfyui", model="SDXL")
        size = lab.leases.tools.pictures.size
        assert size(target) == 7 * GIB
        for count in range(3):
            await footprints.record("comfyui", "SDXL", peak_vram=4 * GIB, load_seconds=2.0)
            await footprints.refresh(now=True)
            if count < 2:
                assert size(target) == 7 * GIB, "two measurements are too few"
        measured = size(target)
        assert measured is not None
        assert 4 * GIB < measured < 4.5 * GIB
        assert lab.leases.tools.pictures.load_seconds(target) == 2.0


async def test_only_so_many_measurements_are_kept(open_lab: OpenGpu) -> None:
    async with open_lab() as lab:
        footprints = lab.leases.tools.pictures.footprints
        for _ in range(60):
            await footprints.record("comfyui", "SDXL", run_seconds=1.0)
        async with lab.leases.tools.db.session() as session:
            count = await session.execute(text("SELECT count(*) FROM gpu_footprints"))
            assert count.scalar_one() == 50


async def test_jarvis_s_own_model_comes_back_when_what_took_its_place_is_idle(
    open_lab: OpenGpu, wire: Wire, settings: Settings
) -> None:
    ollama = FakeOllama(
        installed={"llama3.1:8b": Installed(int(5.5 * GIB))},
        loaded={"llama3.1:8b": int(5.5 * GIB)},
    )
    comfy = FakeComfyUI()
    wire.mount(settings.ollama_host, ollama)
    wire.mount("http://comfy.test:8188", comfy)
    used = lambda: sum(ollama.server.loaded.values()) + comfy.on_card  # noqa: E731
    nvml = FakeNvml([FakeCard(12 * GIB, used)])
    soon = PROMPT.model_copy(update={"comeback_seconds": 0.0})
    async with open_lab(REAL, nvml=nvml, lease_settings=soon) as lab:
        await lab.leases.look()
        picture = GpuNeed(service="comfyui", model="SDXL", klass=PriorityClass.IMAGE)
        async with lab.leases.hold(picture):
            assert ollama.server.loaded == {}
            assert await lab.own.evicted() == frozenset({"ollama:llama3.1:8b"})
        async with asyncio.timeout(20):
            while not ollama.server.loaded:
                await asyncio.sleep(0.05)
        assert await lab.own.evicted() == frozenset()
        assert list(ollama.server.loaded) == ["llama3.1:8b"]
        assert comfy.on_card == 0


async def test_an_unloading_that_nobody_finished_is_gone_on_with(open_lab: OpenGpu) -> None:
    """Its process died in the middle, or could not tell the database what came of it."""
    often = PROMPT.model_copy(update={"idle_observe_seconds": 0.3})
    async with open_lab(lease_settings=often) as lab:
        async with lab.leases.hold(CHAT):
            pass
        lab.scheduler.start()
        async with asyncio.timeout(20):
            while not lab.scheduler.leading:
                await asyncio.sleep(0.01)
            async with lab.leases.tools.db.session() as session:
                await session.execute(text("UPDATE gpu_residents SET state = 'leaving'"))
            await _age(lab, minutes=1)
            while (await lab.leases.rows()).residents:
                await asyncio.sleep(0.05)


async def _age(lab: Gpu, *, minutes: float) -> None:
    """Let time pass for everything that is loaded."""
    async with lab.leases.tools.db.session() as session:
        await session.execute(
            text(
                "UPDATE gpu_residents SET changed_at = changed_at - make_interval(mins => :m), "
                "last_used_at = now() - make_interval(mins => :m)"
            ),
            {"m": minutes},
        )
