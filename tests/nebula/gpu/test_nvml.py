"""NVML: real cards, none, broken ones, and who uses them."""

import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from nebula.gpu.hands import foreign
from nebula.gpu.nvml import NO_GPU, Nvml
from nebula.gpu.observe import Observer
from nebula.gpu.processes import attribute, by_size
from nebula.gpu.snapshot import GpuProcess, GpuReading, NodeSnapshot, Resident
from nebula.services.map import GpuSpec, NodeSpec, ServiceMap, ServiceSpec
from nebula.services.nodes.node import Node, NodeHealth, readings
from nebula.services.sizes import GIB
from node.protocol import Card as ProtocolCard
from node.protocol import CardProcess, Hardware, Metrics, TaskReport, TaskState
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


async def test_an_old_driver_lists_its_processes_too() -> None:
    library = FakeNvml([FakeCard(GIB, processes={2**22 + 7: 5})], lists="v2")
    (card,) = (await Nvml(lambda: library).read()).gpus
    assert [p.vram for p in card.processes] == [5]


async def test_what_a_program_holds_is_counted_once_and_of_every_slice() -> None:
    one, two, three = 2**22 + 1, 2**22 + 2, 2**22 + 3
    card = FakeCard(
        12 * GIB,
        processes=[(one, 2), (one, 3), (two, 7), (three, None)],
        draws={two: None, three: 4},
    )
    (read,) = (await Nvml(lambda: FakeNvml([card])).read()).gpus
    assert {p.pid: p.vram for p in read.processes} == {one: 5, two: 7, three: 4}


async def test_a_card_that_shares_the_computers_memory_has_its_figures() -> None:
    (card,) = (await Nvml(lambda: FakeNvml([FakeCard(None)])).read()).gpus
    assert card.unified
    assert card.vram_total == psutil.virtual_memory().total
    assert card.vram_free is not None and 0 < card.vram_free < card.vram_total


async def test_one_slice_of_a_card_counts_as_the_card_where_the_whole_is_not_ours_to_see() -> None:
    sliced = FakeCard(80 * GIB, whole=False, slices=((10 * GIB, 3 * GIB),))
    hidden = FakeCard(80 * GIB, whole=False)
    cards = (await Nvml(lambda: FakeNvml([sliced, hidden])).read()).gpus
    assert [(c.vram_total, c.vram_free) for c in cards] == [(10 * GIB, 7 * GIB), (None, None)]


async def test_the_versions_of_the_driver_are_told() -> None:
    reading = await Nvml(lambda: FakeNvml([FakeCard(GIB)])).read()
    assert (reading.driver, reading.cuda) == ("580.65.06", "13.0")


def _reading(used: int, *processes: GpuProcess) -> GpuReading:
    return GpuReading(
        index=0, vram_total=12 * GIB, vram_used=used, processes=processes, source="nvml"
    )


def _unknown(pid: int, vram: int) -> GpuProcess:
    return GpuProcess(pid=pid, vram=vram)


def test_a_model_whose_process_is_not_ours_to_see_is_not_counted_twice() -> None:
    model = Resident(service="ollama", model="llama", vram=5 * GIB)
    inside = _reading(6 * GIB, _unknown(1, int(5.4 * GIB)), _unknown(2, GIB // 4))
    (card,) = by_size([inside], [model])
    assert [p.service for p in card.processes] == ["ollama", None]
    node = NodeSnapshot(name="pc", gpus=(card,), residents=(model,))
    assert foreign(node, 0) == GIB, "what is in use beyond the model"


def test_a_program_as_large_as_a_model_stays_somebody_elses() -> None:
    model = Resident(service="ollama", model="llama", vram=5 * GIB)
    both = _reading(11 * GIB, _unknown(1, 5 * GIB))
    (card,) = by_size([both], [model])
    assert card.processes[0].foreign, "there is room for both in what is in use"


@pytest.mark.parametrize(
    ("held", "promised", "others"),
    [
        (5 * GIB, 8 * GIB, 1 * GIB),  # it holds less than it was promised
        (5 * GIB, 4 * GIB, 2 * GIB),  # what it holds beyond that is counted
        (None, 8 * GIB, 0),  # Windows does not say: the promise stands for it
        (5 * GIB, 0, 6 * GIB),  # its lease is over
    ],
)
def test_work_under_a_lease_of_bare_memory_is_counted_by_its_lease(
    held: int | None, promised: int, others: int
) -> None:
    work = GpuProcess(pid=1, vram=held, task="call-1")
    node = NodeSnapshot(name="pc", gpus=(_reading(6 * GIB, work),))
    assert foreign(node, 0, promised) == others


def test_a_process_of_a_task_is_ours_only_under_a_lease_of_its_card() -> None:
    running: dict[str, Any] = {"command": "train", "state": TaskState.RUNNING}
    node = Node(
        name="pc",
        url="http://127.0.0.1:8431",
        health=NodeHealth.ONLINE,
        joined_at=datetime.now(UTC),
        hardware=Hardware(hostname="pc", os="Linux"),
        metrics=Metrics(
            cards=(
                ProtocolCard(
                    0,
                    processes=(
                        CardProcess(1, vram=1, task="leased"),
                        CardProcess(2, vram=2, task="free"),
                        CardProcess(3, vram=3, task="other-card"),
                    ),
                ),
            )
        ),
        tasks=(
            TaskReport("leased", gpu=0, token=7, **running),
            TaskReport("free", **running),
            TaskReport("other-card", gpu=1, token=9, **running),
        ),
    )
    (card,) = readings(node, ServiceMap())
    assert [p.task for p in card.processes] == ["leased", None, None]


async def test_the_map_says_a_cards_size_where_the_driver_does_not() -> None:
    spec = NodeSpec(name="pc", gpus=(GpuSpec(vram=10 * GIB),))
    services = ServiceMap(nodes=(spec,))
    library = FakeNvml([FakeCard(80 * GIB, whole=False)])
    async with httpx.AsyncClient() as http:
        observer = Observer(http, Nvml(lambda: library), lambda: services, Path("unused"))
        seen = await observer.node(spec, {}, frozenset())
    assert [(g.vram_total, g.vram_free) for g in seen.gpus] == [(10 * GIB, None)]
