"""NVML: real cards, none, broken ones, and who uses them."""

import os
import socket

import pytest

from nebula.gpu.nvml import NO_GPU, Nvml
from nebula.gpu.processes import attribute
from nebula.services.map import NodeSpec, ServiceMap, ServiceSpec
from nebula.services.sizes import GIB
from tests.fakes.nvml import FakeCard, FakeNvml, NVMLError, NVMLError_DriverNotLoaded


async def test_a_card_is_read_with_what_it_knows_and_nothing_made_up() -> None:
    library = FakeNvml([FakeCard(12 * GIB, 3 * GIB, processes={1: 2 * GIB, 2**22 + 7: None})])
    reading = await Nvml(lambda: library).read()
    (card,) = reading.gpus
    assert (card.vram_total, card.vram_used, card.vram_free) == (12 * GIB, 3 * GIB, 9 * GIB)
    assert (card.utilization, card.temperature) == (0.42, 51.0)
    assert card.power is None, "this card does not tell"
    assert [(p.pid, p.vram) for p in card.processes] == [(1, 2 * GIB), (2**22 + 7, None)]
    assert card.processes[1].name is None, "that process is gone"
    assert library.users == 0, "every init has its shutdown"


@pytest.mark.parametrize(
    "library", [FakeNvml([]), FakeNvml([], NVMLError_DriverNotLoaded("Driver Not Loaded"))]
)
async def test_a_machine_without_a_card_says_so(library: FakeNvml) -> None:
    reading = await Nvml(lambda: library).read()
    assert reading.gpus == ()
    assert reading.problem == NO_GPU
    assert not Nvml(lambda: library).present()


async def test_a_driver_that_fails_is_survived_and_tried_again() -> None:
    library = FakeNvml([FakeCard(GIB)], NVMLError("Unknown Error"))
    nvml = Nvml(lambda: library)
    assert "does not answer" in (await nvml.read()).problem
    library.failure = None
    assert len((await nvml.read()).gpus) == 1


async def test_a_card_that_fell_off_the_bus_does_not_hide_the_others() -> None:
    library = FakeNvml([FakeCard(GIB, broken=True), FakeCard(2 * GIB)])
    cards = (await Nvml(lambda: library).read()).gpus
    assert [(c.index, c.vram_total) for c in cards] == [(0, None), (1, 2 * GIB)]
    assert cards[0].vram_free is None, "unknown is not zero"


def test_the_real_library_gives_cards_or_a_reason() -> None:
    reading = Nvml().read_now()
    assert reading.gpus or reading.problem


async def test_a_process_that_listens_on_a_services_port_is_that_services() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        services = ServiceMap(
            nodes=(NodeSpec(name="pc"),),
            services=(ServiceSpec(name="comfy", kind="comfyui", node="pc", port=port),),
        )
        library = FakeNvml(
            [FakeCard(GIB, processes={os.getpid(): 1, os.getppid(): 2, 2**22 + 9: 3})]
        )
        gpus = (await Nvml(lambda: library).read()).gpus
        (card,) = attribute(gpus, services, "pc")
    owners = {p.pid: p.service for p in card.processes}
    assert owners[os.getpid()] == "comfy"
    assert owners[os.getppid()] is None, "a parent is not the service"
    assert owners[2**22 + 9] is None
