"""The GPU tools through the executor: as people, in rights, and with services away."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from nebula.auth.principal import Caller, Principal, Surface
from nebula.errors import Conflict, InvalidInput, NotFound, PermissionDenied
from nebula.services.sizes import GIB
from nebula.settings import Settings
from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.ollama import FakeOllama
from tests.fakes.wire import Wire
from tools.gpu.schemas import GpuStatus, PlanReport, SwitchReport, UnloadReport

if TYPE_CHECKING:
    from nebula.app import App

Run = Callable[..., Any]

SIMULATED = """\
nodes:
  - name: lab
    simulated: true
    time_scale: 0
    gpus: [{vram: 12 GB}]
    starts_with: ["llama3.1:8b"]
services:
  - name: ollama
    kind: ollama
    node: lab
    models:
      - {name: "llama3.1:8b", vram: 5.5 GB, aliases: [llama, chat]}
  - name: comfyui
    kind: comfyui
    node: lab
    vram: 7 GB
    aliases: [Stable Diffusion]
"""

REAL = """\
nodes:
  - name: pc
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
"""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    settings.service_map.write_text(SIMULATED)
    return settings


@pytest.fixture
def run(app: "App") -> Run:
    async def run(who: Principal, tool: str, **arguments: Any) -> Any:
        caller = Caller(who, Surface.CHAT)
        return await app.executor.execute(tool, arguments, caller=caller, call_id=uuid4().hex)

    return run


async def test_gpu_status_names_what_is_loaded_and_that_it_is_simulated(
    run: Run, viewer: Principal
) -> None:
    status: GpuStatus = await run(viewer, "gpu_status")
    (card,) = status.gpus
    assert card.simulated
    assert card.vram_total_gb == 12
    assert [(m.model, m.vram_gb) for m in card.loaded] == [("llama3.1:8b", 5.5)]


async def test_gpu_plan_changes_nothing(run: Run, viewer: Principal) -> None:
    plan: PlanReport = await run(viewer, "gpu_plan", service="Stable Diffusion")
    assert [e.model for e in plan.evicts] == ["llama3.1:8b"]
    again: PlanReport = await run(viewer, "gpu_plan", service="Stable Diffusion")
    assert again == plan


async def test_gpu_switch_unloads_what_does_not_fit_and_tells_the_events(
    app: "App", run: Run, admin: Principal
) -> None:
    report: SwitchReport = await run(admin, "gpu_switch", service="Stable Diffusion")
    assert [e.model for e in report.evicted] == ["llama3.1:8b"]
    assert report.simulated
    (event,) = await app.parts.events.read("gpu", 0)
    assert event.data["evicted"] == ["llama3.1:8b"]
    assert event.data["simulated"] is True


async def test_gpu_switch_back_brings_the_chat_model_back(run: Run, admin: Principal) -> None:
    await run(admin, "gpu_switch", service="comfyui")
    report: SwitchReport = await run(admin, "gpu_switch", service="chat")
    assert [e.service for e in report.evicted] == ["comfyui"]


async def test_gpu_switch_is_denied_to_who_may_only_look(run: Run, viewer: Principal) -> None:
    with pytest.raises(PermissionDenied):
        await run(viewer, "gpu_switch", service="comfyui")


async def test_gpu_load_refuses_rather_than_unload(run: Run, admin: Principal) -> None:
    with pytest.raises(Conflict):
        await run(admin, "gpu_load", service="comfyui")


async def test_gpu_unload_frees_a_model_and_then_says_there_is_none(
    run: Run, admin: Principal
) -> None:
    report: UnloadReport = await run(admin, "gpu_unload", service="llama")
    assert report.freed_gb == 5.5
    with pytest.raises(NotFound):
        await run(admin, "gpu_unload", service="llama")


async def test_an_unknown_name_is_answered_with_the_nearest_ones(
    run: Run, viewer: Principal
) -> None:
    with pytest.raises(NotFound) as caught:
        await run(viewer, "gpu_plan", service="lama 8")
    assert "llama" in caught.value.hint
    with pytest.raises(NotFound, match="no node"):
        await run(viewer, "gpu_status", node="mars")
    with pytest.raises(InvalidInput):
        await run(viewer, "gpu_plan", service="")


async def test_a_model_that_gave_its_card_away_is_left_out_by_the_router_at_once(
    app: "App", run: Run, admin: Principal, settings: Settings, wire: Wire
) -> None:
    ollama = FakeOllama(loaded={"llama3.1:8b": int(4.9 * GIB)})
    wire.mount(settings.ollama_host, ollama)
    wire.mount("http://comfy.test:8188", FakeComfyUI(elsewhere=lambda: int(5 * GIB)))
    settings.service_map.write_text(REAL.format(ollama=settings.ollama_host))
    await app.parts.services.refresh()
    await run(admin, "gpu_unload", service="llama")
    assert "ollama:llama3.1:8b" in (await app.parts.router.status()).evicted
    await run(admin, "gpu_load", service="llama")
    assert (await app.parts.router.status()).evicted == []
