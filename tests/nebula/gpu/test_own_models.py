"""The models that Jarvis thinks with give their card away and come back."""

from dataclasses import replace

import pytest

from nebula.gpu.leases.rows import ResidentState, Rows
from nebula.gpu.own_models import By, fold
from nebula.services.map import Target
from nebula.services.sizes import GIB
from nebula.settings import Settings
from tests.brokers import Opener
from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.nvml import FakeCard, FakeNvml
from tests.fakes.ollama import FakeOllama, Installed
from tests.fakes.wire import Wire

MAP = """\
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
"""

LLAMA = Target(service="ollama", model="llama3.1:8b")
OURS = frozenset({"ollama:llama3.1:8b"})
OTHER = ResidentState(
    id="pc/0/ollama/other",
    card="pc/0",
    service="ollama",
    model="other",
    vram=GIB,
    measured=None,
    state="loaded",
    loader=None,
    busy=False,
    changed=40.0,
    last_used=50.0,
)


@pytest.fixture
def card(wire: Wire, settings: Settings) -> FakeNvml:
    """Give a 12 GB card with the chat model on it."""
    ollama = FakeOllama(
        installed={"llama3.1:8b": Installed(int(5.5 * GIB))},
        loaded={"llama3.1:8b": int(5.5 * GIB)},
    )
    comfy = FakeComfyUI()
    wire.mount(settings.ollama_host, ollama)
    wire.mount("http://comfy.test:8188", comfy)
    used = lambda: sum(ollama.server.loaded.values()) + comfy.on_card  # noqa: E731
    return FakeNvml([FakeCard(12 * GIB, used)])


async def test_a_model_is_away_until_it_is_loaded_again(
    card: FakeNvml, open_broker: Opener
) -> None:
    async with open_broker(MAP, nvml=card) as (_, broker, own):
        assert await own.evicted() == frozenset()
        await broker.switch("comfyui")
        assert await own.evicted() == OURS
        await broker.switch("llama")
        assert await own.evicted() == frozenset()


async def test_another_process_knows_of_it_too(card: FakeNvml, open_broker: Opener) -> None:
    async with (
        open_broker(MAP, nvml=card) as (_, broker, _),
        open_broker(MAP, nvml=card) as (_, _, elsewhere),
    ):
        await broker.switch("comfyui")
        assert await elsewhere.evicted() == OURS


async def test_a_model_that_somebody_loaded_by_hand_is_not_away(
    card: FakeNvml, open_broker: Opener, wire: Wire, settings: Settings
) -> None:
    async with open_broker(MAP, nvml=card) as (_, broker, own):
        await broker.unload("llama")
        assert await own.evicted() == OURS
        loaded = {"llama3.1:8b": GIB}
        wire.mount(settings.ollama_host, FakeOllama(loaded=loaded))
        assert await own.evicted() == frozenset()


async def test_an_answer_that_streams_holds_its_model(card: FakeNvml, open_broker: Opener) -> None:
    async with open_broker(MAP, nvml=card) as (_, broker, own):
        async with own.using("ollama", "llama3.1:8b"):
            assert (await broker.plan("comfyui")).waits_for == ("ollama",)
        async with own.using("openai", "gpt"):
            assert (await broker.plan("comfyui")).waits_for == ()


async def test_of_several_the_one_that_was_talked_to_last_comes_back_first(
    card: FakeNvml, open_broker: Opener
) -> None:
    """What comes back may push out what took their place, and then the others are not owed one."""
    async with open_broker(MAP, nvml=card) as (_, __, own):
        for model, used in (("forgotten", 10.0), ("llama3.1:8b", 90.0), ("never", None)):
            gone = [{"service": "ollama", "model": model}]
            taker = {"service": "comfyui", "model": None, "class": "image"}
            data = {**taker, "unloaded": gone, "used": used}
            await own._events.publish("gpu", "gpu.evicted", data)  # type: ignore[attr-defined]
        rows = Rows(now=1e10, cards=(), residents=(), waiting=(), leases=(), usage={})
        back = [need.model for need in await own.comebacks(rows)]
        since = replace(rows, residents=(OTHER,))
        owed = [need.model for need in await own.comebacks(since)]
    assert back == ["llama3.1:8b", "forgotten", "never"]
    assert owed == ["llama3.1:8b"], "another one has been talked to since"


def test_what_took_its_place_gives_it_back_when_it_goes() -> None:
    away: dict[Target, By] = {}
    gone = [LLAMA.model_dump()]
    fold(away, "gpu.switched", {"service": "comfyui", "model": None, "unloaded": gone})
    assert away == {LLAMA: Target(service="comfyui")}
    fold(away, "gpu.unloaded", {"unloaded": [{"service": "comfyui", "model": None}]})
    assert LLAMA not in away


def test_another_model_of_the_same_service_that_goes_is_not_what_took_its_place() -> None:
    away: dict[Target, By] = {}
    larger = {"service": "ollama", "model": "larger", "class": "image"}
    fold(away, "gpu.evicted", {**larger, "unloaded": [LLAMA.model_dump()]})
    idle = {"service": None, "model": None, "class": None}
    small, took = ({"service": "ollama", "model": name} for name in ("small", "larger"))
    fold(away, "gpu.evicted", {**idle, "unloaded": [small]})
    assert LLAMA in away
    fold(away, "gpu.evicted", {**idle, "unloaded": [took]})
    assert LLAMA not in away


def test_a_model_a_person_unloaded_stays_away_until_it_is_asked_for() -> None:
    away: dict[Target, By] = {}
    fold(away, "gpu.unloaded", {"unloaded": [LLAMA.model_dump()]})
    fold(away, "gpu.unloaded", {"unloaded": [{"service": "comfyui", "model": None}]})
    assert LLAMA in away
    fold(away, "gpu.switched", {"service": "ollama", "model": "llama3.1:8b", "unloaded": []})
    assert LLAMA not in away
