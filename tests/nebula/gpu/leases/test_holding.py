"""Interactive work takes leases: warm at once, cold through the scheduler, in line when full."""

import asyncio

import pytest

from nebula.errors import Conflict, NotFound
from nebula.gpu.leases.need import GpuNeed
from nebula.gpu.policy.types import PriorityClass
from nebula.services.sizes import GIB
from tests.nebula.gpu.leases.conftest import OpenGpu

CHAT = GpuNeed(service="ollama", model="llama3.1:8b", klass=PriorityClass.CHAT)
SMALL = GpuNeed(service="ollama", model="llama3.2:3b", klass=PriorityClass.CHAT)
SDXL = GpuNeed(service="comfyui", model="SDXL", klass=PriorityClass.IMAGE)


async def test_a_loaded_model_is_leased_without_the_scheduler(open_lab: OpenGpu) -> None:
    async with open_lab() as lab:
        await lab.leases.look()
        async with lab.leases.hold(CHAT, owner_name="ann") as lease:
            assert lease.token == 1
            assert (lease.node, lease.gpu) == ("lab", 0)
            (held,) = (await lab.leases.rows()).leases
            assert held.owner_name == "ann"
        assert not lab.scheduler.leading
        assert (await lab.leases.rows()).leases == ()


async def test_a_model_that_fits_is_loaded_beside_the_others(open_lab: OpenGpu) -> None:
    said: list[str] = []

    async def progress(fraction: float | None, message: str) -> None:
        said.append(message)

    async with open_lab() as lab:
        async with lab.leases.hold(SMALL, progress=progress):
            rows = await lab.leases.rows()
            assert {r.model: r.state for r in rows.residents} == {
                "llama3.1:8b": "loaded",
                "llama3.2:3b": "loaded",
            }
            assert rows.cards[0].reserved == 8 * GIB
        assert said == ["Loading llama3.2:3b (3 s)…"]


async def test_what_nobody_uses_makes_room_and_the_reason_is_kept(open_lab: OpenGpu) -> None:
    async with open_lab() as lab:
        async with lab.leases.hold(SDXL) as lease:
            rows = await lab.leases.rows()
            assert [r.model for r in rows.residents] == ["SDXL"]
            assert lease.service == "comfyui"
        kept = {d.kind: d.reason for d in await lab.leases.records.decisions()}
    assert "llama3.1:8b" in kept["evict"]
    assert "GB" in kept["evict"]


async def test_who_must_wait_is_told_why_and_what_is_leased_stays(open_lab: OpenGpu) -> None:
    async with open_lab() as lab:
        await lab.leases.look()
        async with lab.leases.hold(CHAT):
            with pytest.raises(Conflict, match="No GPU became free for SDXL") as caught:
                async with lab.leases.hold(SDXL, wait_seconds=0.5):
                    pass
            rows = await lab.leases.rows()
            assert [r.model for r in rows.residents] == ["llama3.1:8b"]
            assert rows.waiting == ()
        assert "SDXL" in str(caught.value)
        async with lab.leases.hold(SDXL):
            pass


async def test_who_waits_goes_on_as_soon_as_the_lease_ends(open_lab: OpenGpu) -> None:
    async with open_lab() as lab:
        await lab.leases.look()
        async with lab.leases.hold(CHAT):
            waiting = asyncio.create_task(_once(lab.leases, SDXL))
            await _until_somebody_waits(lab.leases)
        assert await waiting == "SDXL"


async def test_two_who_want_the_same_model_load_it_once(open_lab: OpenGpu) -> None:
    async with open_lab() as lab:
        assert await asyncio.gather(_once(lab.leases, SMALL), _once(lab.leases, SMALL)) == [
            "llama3.2:3b",
            "llama3.2:3b",
        ]
        loads = [d for d in await lab.leases.records.decisions() if d.kind == "start"]
        assert len(loads) <= 2


async def test_a_service_that_left_the_map_is_named(open_lab: OpenGpu) -> None:
    async with open_lab() as lab:
        with pytest.raises(NotFound, match="whisper is not in the service map"):
            async with lab.leases.hold(GpuNeed(service="whisper", klass=PriorityClass.CHAT)):
                pass


async def test_a_load_that_fails_leaves_no_trace_in_the_ledger(open_lab: OpenGpu) -> None:
    text = """\
nodes:
  - name: pc
    gpus: [{vram: 12 GB}]
services:
  - name: comfyui
    kind: comfyui
    node: pc
    url: http://nowhere.test:1
    vram: 7 GB
"""
    async with open_lab(text) as lab:
        with pytest.raises(Exception, match="comfyui"):
            async with lab.leases.hold(GpuNeed(service="comfyui", klass=PriorityClass.IMAGE)):
                pass
        rows = await lab.leases.rows()
    assert rows.residents == ()
    assert rows.leases == ()
    assert rows.cards[0].reserved == 0


async def test_work_that_nothing_is_counted_for_costs_nothing(open_lab: OpenGpu) -> None:
    text = """\
nodes:
  - name: pc
services:
  - name: ollama
    kind: ollama
    node: pc
    url: http://ollama.test
"""
    async with open_lab(text) as lab:
        async with lab.leases.hold(CHAT) as lease:
            assert not lease.managed
        assert (await lab.leases.rows()).waiting == ()


async def _once(leases: object, need: GpuNeed) -> str | None:
    async with leases.hold(need) as lease:  # type: ignore[attr-defined]
        return str(lease.model)


async def _until_somebody_waits(leases: object) -> None:
    async with asyncio.timeout(5):
        while not (await leases.rows()).waiting:  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)
