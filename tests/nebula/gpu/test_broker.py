"""The broker against services that speak their wire protocols, obey, work, lie, stall or die."""

import asyncio
from dataclasses import dataclass

import httpx
import psycopg
import pytest

from nebula.errors import (
    Conflict,
    NotFound,
    TimedOut,
    UpstreamRejected,
    UpstreamUnavailable,
)
from nebula.gpu.leases.need import GpuNeed
from nebula.gpu.lock import node_lock
from nebula.gpu.policy.types import PriorityClass
from nebula.gpu.reports import Limits
from nebula.services.sizes import GIB
from nebula.settings import Settings
from tests.brokers import QUICK, Opener
from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.nvml import FakeCard, FakeNvml
from tests.fakes.ollama import FakeOllama, Installed
from tests.fakes.sdwebui import FakeSdWebUi
from tests.fakes.wire import Wire

MAP = """\
nodes:
  - name: pc
    reserve: 512 MB
services:
  - name: ollama
    kind: ollama
    node: pc
    url: http://ollama.test:11434
    models:
      - {name: "llama3.1:8b", vram: 5.5 GB, load_seconds: 6, aliases: [llama]}
      - {name: "llama3.2:3b", vram: 2.5 GB, load_seconds: 3}
      - {name: embedder, vram: 1.5 GB, pinned: true}
  - name: comfyui
    kind: comfyui
    node: pc
    url: http://comfy.test:8188
    vram: 7 GB
    aliases: [Stable Diffusion]
    models:
      - {name: SDXL, vram: 7 GB, checkpoint: sd_xl_base_1.0.safetensors}
      - {name: Lost, vram: 2 GB, checkpoint: lost.safetensors}
  - name: webui
    kind: sdwebui
    node: pc
    url: http://webui.test:7860
    vram: 4 GB
"""

INSTALLED = {
    "llama3.1:8b": Installed(int(5.5 * GIB)),
    "llama3.2:3b": Installed(int(2.5 * GIB)),
    "embedder": Installed(int(1.5 * GIB), capabilities=("embedding",)),
    "qwen:7b": Installed(int(4.4 * GIB)),
}


@dataclass
class Lab:
    """One 12 GB card with three services on it."""

    ollama: FakeOllama
    comfy: FakeComfyUI
    webui: FakeSdWebUi
    nvml: FakeNvml
    wire: Wire
    foreign: int = 0

    def used(self) -> int:
        """Return what is on the card in truth."""
        loaded = sum(self.ollama.server.loaded.values())
        return loaded + self.comfy.on_card + self.webui.on_card + self.foreign


@pytest.fixture
def lab(wire: Wire) -> Lab:
    """Give the card with the large chat model on it."""
    ollama = FakeOllama(installed=dict(INSTALLED), loaded={"llama3.1:8b": int(5.5 * GIB)})
    lab = Lab(ollama, FakeComfyUI(), FakeSdWebUi(loaded=False), FakeNvml([]), wire)
    lab.nvml.cards.append(FakeCard(12 * GIB, lab.used))
    for address, app in [
        ("http://ollama.test:11434", lab.ollama),
        ("http://comfy.test:8188", lab.comfy),
        ("http://webui.test:7860", lab.webui),
    ]:
        wire.mount(address, app)
    return lab


async def test_the_chat_model_makes_room_for_images_and_comes_back(
    lab: Lab, open_broker: Opener
) -> None:
    async with open_broker(MAP, nvml=lab.nvml) as (_, broker, _):
        done = await broker.switch("SDXL")
        assert [e.eviction.resident.model for e in done.evicted] == ["llama3.1:8b"]
        assert lab.ollama.server.loaded == {}
        assert lab.comfy.server.held == 7 * GIB, "the checkpoint was warmed"
        back = await broker.switch("llama")
        assert [e.eviction.resident.service for e in back.evicted] == ["comfyui"]
        assert list(lab.ollama.server.loaded) == ["llama3.1:8b"]
        assert back.free == int(6.5 * GIB)


async def test_what_fits_beside_it_evicts_nothing(lab: Lab, open_broker: Opener) -> None:
    async with open_broker(MAP, nvml=lab.nvml) as (_, broker, _):
        done = await broker.switch("webui")
        assert done.evicted == ()
        assert lab.webui.server.loaded
        again = await broker.switch("webui")
    assert again.plan.already


async def test_a_model_that_only_the_service_knows_may_be_asked_for(
    lab: Lab, open_broker: Opener
) -> None:
    text = MAP.replace("    url: http://ollama", "    vram: 4.5 GB\n    url: http://ollama")
    async with open_broker(text, nvml=lab.nvml) as (_, broker, _):
        await broker.switch("qwen:7b")
    assert "qwen:7b" in lab.ollama.server.loaded


async def test_a_model_without_a_budget_is_asked_for_one(lab: Lab, open_broker: Opener) -> None:
    async with open_broker(MAP, nvml=lab.nvml) as (_, broker, _):
        with pytest.raises(Exception, match="How much VRAM qwen:7b") as caught:
            await broker.switch("qwen:7b")
    assert "budget" in caught.value.hint  # type: ignore[attr-defined]


async def test_a_model_that_was_never_pulled_says_how_to_get_it(
    lab: Lab, open_broker: Opener
) -> None:
    del lab.ollama.server.installed["llama3.2:3b"]
    async with open_broker(MAP, nvml=lab.nvml) as (_, broker, _):
        with pytest.raises(NotFound, match="does not have the model") as caught:
            await broker.switch("llama3.2:3b")
    assert "ollama pull llama3.2:3b" in caught.value.hint


async def test_a_service_that_lies_about_freed_memory_is_caught_by_the_card(
    lab: Lab, open_broker: Opener
) -> None:
    lab.foreign = 0
    async with open_broker(MAP, nvml=lab.nvml) as (_, broker, _):
        lab.nvml.cards[0].used = lambda: int(5.5 * GIB)  # never comes free
        with pytest.raises(UpstreamRejected, match="said that its memory is free") as caught:
            await broker.switch("SDXL")
    assert "6.5 GB of the 7.5 GB needed are free" in str(caught.value)
    assert "Unloaded llama3.1:8b before that" in str(caught.value)
    assert "load llama3.1:8b" in caught.value.hint
    assert lab.comfy.server.held == 0, "nothing was loaded on top"


async def test_a_comfyui_that_never_reads_its_flag_is_named(lab: Lab, open_broker: Opener) -> None:
    lab.ollama.server.loaded.clear()
    lab.comfy.server.held = 7 * GIB
    lab.comfy.server.ignores_free = True
    async with open_broker(MAP, nvml=lab.nvml) as (_, broker, _):
        with pytest.raises(UpstreamRejected, match="still holds it") as caught:
            await broker.switch("llama")
    assert "Restart comfyui" in caught.value.hint
    assert "Nothing was unloaded" in str(caught.value)
    assert lab.ollama.server.loaded == {}


async def test_without_nvml_the_services_own_figures_must_do(lab: Lab, open_broker: Opener) -> None:
    for fake in (lab.comfy, lab.webui):
        fake.server.elsewhere = lambda fake=fake: lab.used() - fake.on_card  # type: ignore[misc]
    async with open_broker(MAP) as (_, broker, _):
        node = (await broker.snapshot()).node("pc")
        assert node is not None
        (card,) = node.gpus
        assert card.source == "service"
        assert card.name == "NVIDIA GeForce RTX 3060"
        assert card.vram_free == int(6.5 * GIB)
        done = await broker.switch("Stable Diffusion")
    assert [e.eviction.resident.model for e in done.evicted] == ["llama3.1:8b"]
    assert "first picture" in done.loaded


async def test_a_working_service_is_waited_for(lab: Lab, open_broker: Opener) -> None:
    lab.ollama.server.loaded.clear()
    lab.comfy.server.held = 7 * GIB
    lab.comfy.server.steps = 6
    await _submit(lab)
    async with open_broker(MAP, nvml=lab.nvml, limits=_patient()) as (_, broker, _):
        plan = await broker.plan("llama")
        assert plan.waits_for == ("comfyui",)
        done = await broker.switch("llama")
    assert done.evicted
    assert lab.comfy.server.interrupts == 0
    (entry,) = lab.comfy.server.history.values()
    assert entry["status"]["status_str"] == "success", "the picture was finished first"


async def test_a_service_that_works_too_long_is_left_alone(lab: Lab, open_broker: Opener) -> None:
    lab.ollama.server.loaded.clear()
    lab.comfy.server.held = 7 * GIB
    lab.comfy.server.steps = 10**9
    await _submit(lab)
    async with open_broker(MAP, nvml=lab.nvml) as (_, broker, _):
        with pytest.raises(Conflict, match="still working") as caught:
            await broker.switch("llama")
        assert "force" in caught.value.hint
        assert lab.comfy.server.frees == 0
        with pytest.raises(Conflict, match="working right now"):
            await broker.unload("comfyui")
        await broker.switch("llama", force=True)
    assert lab.comfy.server.interrupts == 1
    assert lab.comfy.server.held == 0


async def test_a_chat_that_streams_keeps_its_model(lab: Lab, open_broker: Opener) -> None:
    async with open_broker(MAP, nvml=lab.nvml) as (_, broker, _):
        need = GpuNeed(service="ollama", model="llama3.1:8b", klass=PriorityClass.CHAT)
        async with broker.leases.hold(need):
            with pytest.raises(Conflict, match="ollama is still working"):
                await broker.switch("SDXL")
            assert lab.ollama.server.loaded
        await broker.switch("SDXL")


async def test_a_service_that_is_down_is_refused_before_anything_is_unloaded(
    lab: Lab, open_broker: Opener
) -> None:
    lab.wire.unmount("http://comfy.test:8188")
    async with open_broker(MAP, nvml=lab.nvml) as (_, broker, _):
        with pytest.raises(Conflict, match="comfyui does not work") as caught:
            await broker.switch("SDXL")
    assert "Start comfyui" in caught.value.hint
    assert lab.ollama.server.loaded


async def test_a_load_that_fails_after_the_unload_tells_both_and_the_way_back(
    lab: Lab, open_broker: Opener
) -> None:
    lab.comfy.server.fails_with = "CUDA out of memory"
    async with open_broker(MAP, nvml=lab.nvml) as (_, broker, _):
        with pytest.raises(UpstreamRejected, match="CUDA out of memory") as caught:
            await broker.switch("SDXL")
        assert "Unloaded llama3.1:8b before that. 12.0 GB are free now." in str(caught.value)
        assert "Say 'load llama3.1:8b'" in caught.value.hint
        node = (await broker.snapshot()).node("pc")
    assert node is not None
    assert node.residents == (), "the state afterwards is the true one"


@pytest.mark.parametrize(
    ("trouble", "error", "said"),
    [
        ("errors_in_200", UpstreamRejected, "refused the warm-up"),
        ("dies_mid_run", Exception, "restarted"),
    ],
)
async def test_a_comfyui_that_accepts_and_then_fails_is_not_believed(
    lab: Lab, open_broker: Opener, trouble: str, error: type[Exception], said: str
) -> None:
    setattr(lab.comfy.server, trouble, True)
    async with open_broker(MAP, nvml=lab.nvml) as (_, broker, _):
        with pytest.raises(error, match=said):
            await broker.switch("SDXL")


async def test_a_checkpoint_that_is_missing_is_named_with_those_that_are_there(
    lab: Lab, open_broker: Opener
) -> None:
    async with open_broker(MAP, nvml=lab.nvml) as (_, broker, _):
        with pytest.raises(NotFound, match=r"lost\.safetensors") as caught:
            await broker.switch("Lost")
    assert "sd_xl_base_1.0.safetensors" in caught.value.hint


async def test_a_load_that_stalls_ends_at_its_limit(lab: Lab, open_broker: Opener) -> None:
    lab.comfy.server.steps = 10**9
    limits = Limits(lock=5, busy=0.2, freed=0.2, load=0.3, poll=0.01)
    async with open_broker(MAP, nvml=lab.nvml, limits=limits) as (_, broker, _):
        with pytest.raises(TimedOut, match=r"still loading|not loaded within"):
            await broker.switch("SDXL")


async def test_foreign_programs_are_counted_and_left_alone(lab: Lab, open_broker: Opener) -> None:
    lab.foreign = 6 * GIB
    lab.nvml.cards[0].processes = {2**22 + 1: 6 * GIB}
    async with open_broker(MAP, nvml=lab.nvml) as (_, broker, _):
        with pytest.raises(Conflict, match="left alone") as caught:
            await broker.switch("SDXL")
    assert "more would be needed" in caught.value.hint
    assert lab.ollama.server.loaded, "nothing is unloaded in vain"


async def test_two_switches_at_once_run_one_after_the_other(lab: Lab, open_broker: Opener) -> None:
    limits = Limits(lock=20, busy=5, freed=5, load=5, poll=0.01)
    async with (
        open_broker(MAP, nvml=lab.nvml, limits=limits) as (_, one, _),
        open_broker(MAP, nvml=lab.nvml, limits=limits) as (_, other, _),
    ):
        await asyncio.gather(one.switch("SDXL"), other.switch("llama"))
    assert lab.used() <= 12 * GIB
    assert bool(lab.ollama.server.loaded) != bool(lab.comfy.server.held)


async def test_a_change_elsewhere_that_does_not_end_is_reported(
    lab: Lab, open_broker: Opener, settings: Settings
) -> None:
    limits = Limits(lock=0.1, busy=0.2, freed=0.2, load=5, poll=0.01)
    async with open_broker(MAP, nvml=lab.nvml, limits=limits) as (_, broker, _):
        async with node_lock(settings.database_url, "pc", seconds=1):
            with pytest.raises(Conflict, match="Another change"):
                await broker.switch("SDXL")
        await broker.switch("SDXL")


async def test_what_changed_while_waiting_is_planned_for_anew(
    lab: Lab, open_broker: Opener, settings: Settings
) -> None:
    limits = Limits(lock=20, busy=5, freed=5, load=5, poll=0.01)
    async with open_broker(MAP, nvml=lab.nvml, limits=limits) as (_, broker, _):
        async with node_lock(settings.database_url, "pc", seconds=1):
            switching = asyncio.create_task(broker.switch("SDXL"))
            await _somebody_waits(settings.database_url)
            lab.ollama.server.loaded = {"llama3.2:3b": int(2.5 * GIB), "qwen:7b": int(4.4 * GIB)}
        done = await switching
    assert [e.eviction.resident.model for e in done.evicted] == ["llama3.2:3b"]


async def test_a_database_that_is_away_stops_a_change_before_it_begins(
    lab: Lab, open_broker: Opener, settings: Settings
) -> None:
    async with open_broker(MAP, nvml=lab.nvml) as (_, broker, _):
        settings_url = settings.database_url
        broker._conninfo = settings_url.replace(settings_url.rsplit("/", 1)[1], "nowhere")
        with pytest.raises(UpstreamUnavailable, match="database"):
            await broker.switch("SDXL")
    assert lab.ollama.server.loaded


async def test_unloading_what_holds_on_is_reported(lab: Lab, open_broker: Opener) -> None:
    lab.webui.server.loaded = True
    lab.webui.server.ignores_unload = True
    async with open_broker(MAP, nvml=lab.nvml) as (_, broker, _):
        with pytest.raises(UpstreamRejected, match="still loaded"):
            await broker.unload("webui")


async def test_one_service_that_talks_nonsense_does_not_hide_the_others(
    lab: Lab, open_broker: Opener
) -> None:
    lab.webui.server.api_off = True
    lab.wire.mount("http://comfy.test:8188", lab.ollama)
    async with open_broker(MAP, nvml=lab.nvml) as (_, broker, _):
        node = (await broker.snapshot()).node("pc")
    assert node is not None
    states = {s.name: (s.up, s.reason) for s in node.services}
    assert states["ollama"][0] is True
    assert states["webui"] == (False, "The API of webui is off")
    assert states["comfyui"][0] is False
    assert [r.model for r in node.residents] == ["llama3.1:8b"]


async def _submit(lab: Lab) -> None:
    """Give ComfyUI a picture to work on."""
    transport = httpx.ASGITransport(lab.comfy)
    async with httpx.AsyncClient(transport=transport, base_url="http://comfy") as http:
        graph = {"1": {"class_type": "SaveImage", "inputs": {}}}
        await http.post("/prompt", json={"prompt": graph})
        await http.get("/queue")


async def _somebody_waits(url: str) -> None:
    """Return once somebody waits for an advisory lock of this database."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        waiting = (
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
            "WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()"
        )
        async with asyncio.timeout(20):
            while (await (await connection.execute(waiting)).fetchone()) == (0,):
                await asyncio.sleep(0.01)


def _patient() -> Limits:
    return Limits(lock=5, busy=5, freed=QUICK.freed, load=5, poll=0.01)
