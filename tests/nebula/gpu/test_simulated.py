"""The simulated node: real state on a card that is not there, and named so."""

from pathlib import Path

import pytest

from nebula.errors import Conflict, NotFound
from nebula.gpu.broker import Broker
from nebula.services.sizes import GIB
from tests.brokers import Opener

DEFAULT = (Path(__file__).parents[3] / "service-map.yml").read_text()


async def test_switching_to_stable_diffusion_unloads_the_chat_model(open_broker: Opener) -> None:
    async with open_broker(DEFAULT) as (_, broker, _):
        done = await broker.switch("Stable Diffusion")
    assert done.plan.target.service == "simulated-comfyui"
    assert done.plan.simulated
    assert [e.eviction.resident.model for e in done.evicted] == ["llama3.1:8b"]
    assert "needs 7.0 GB" in done.evicted[0].eviction.why


async def test_the_pinned_embedder_stays_and_flux_is_refused_politely(open_broker: Opener) -> None:
    async with open_broker(DEFAULT) as (_, broker, _):
        with pytest.raises(Conflict, match="Pinned in the service map: nomic-embed-text") as caught:
            await broker.switch("flux")
    assert "more would be needed" in caught.value.hint


async def test_a_simulated_card_remembers_what_was_loaded_over_processes(
    open_broker: Opener,
) -> None:
    async with open_broker(DEFAULT) as (_, broker, _):
        await broker.switch("SDXL")
    async with open_broker(DEFAULT) as (_, another, _):
        assert await _loaded(another) == {"SDXL", "nomic-embed-text"}


async def test_every_figure_of_a_simulated_card_says_that_it_is_simulated(
    open_broker: Opener,
) -> None:
    async with open_broker(DEFAULT) as (_, broker, _):
        node = (await broker.snapshot()).node("simulated-pc")
    assert node is not None
    assert node.simulated
    assert all(g.simulated and g.source == "simulated" for g in node.gpus)
    assert all(r.simulated for r in node.residents)
    assert all(s.simulated for s in node.services)


async def test_loading_without_room_unloads_nothing(open_broker: Opener) -> None:
    async with open_broker(DEFAULT) as (_, broker, _):
        with pytest.raises(Conflict, match="are free") as caught:
            await broker.switch("SDXL", evict=False)
        assert "switch to" in caught.value.hint
        assert "llama3.1:8b" in await _loaded(broker)


async def test_unloading_frees_exactly_what_the_model_held(open_broker: Opener) -> None:
    async with open_broker(DEFAULT) as (_, broker, _):
        done = await broker.unload("llama")
        assert done.freed == int(5.5 * GIB)
        with pytest.raises(NotFound, match="not loaded"):
            await broker.unload("llama")


async def test_freeing_the_gpu_unloads_everything_that_is_not_pinned(open_broker: Opener) -> None:
    async with open_broker(DEFAULT) as (_, broker, _):
        await broker.unload(None)
        assert await _loaded(broker) == {"nomic-embed-text"}


async def _loaded(broker: Broker) -> set[str]:
    snapshot = await broker.snapshot()
    return {r.label for n in snapshot.nodes for r in n.residents}
