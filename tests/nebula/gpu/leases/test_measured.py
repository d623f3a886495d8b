"""Memory is free when the card says so now: old figures, silent services and lost loads count."""

import asyncio
from collections.abc import Callable

import httpx
import pytest
from sqlalchemy import text

from nebula.errors import Conflict, NebulaError, UpstreamUnavailable
from nebula.gpu.hands import foreign
from nebula.gpu.leases.ledger import Grant, Owner
from nebula.gpu.leases.need import GpuNeed
from nebula.gpu.open import Gpu
from nebula.gpu.policy.types import PriorityClass
from nebula.gpu.snapshot import GpuProcess, GpuReading, NodeSnapshot, Resident
from nebula.services.sizes import GIB
from nebula.settings import Settings
from tests.fakes.nvml import FakeCard, FakeNvml
from tests.fakes.ollama import FakeOllama, Installed
from tests.fakes.wire import Wire
from tests.nebula.gpu.leases.conftest import OpenGpu

FAR = """\
nodes:
  - {name: pc, agent: true, gpus: [{vram: 12 GB}]}
services:
  - name: ollama
    kind: ollama
    node: pc
    url: ${OLLAMA_HOST}
    models: [{name: one, vram: 7 GB}, {name: two, vram: 7 GB}]
"""
HERE = FAR.replace(", agent: true, gpus: [{vram: 12 GB}]", "")
ONE = GpuNeed(service="ollama", model="one", klass=PriorityClass.CHAT)
TWO = GpuNeed(service="ollama", model="two", klass=PriorityClass.CHAT)


@pytest.fixture
def ollama(wire: Wire, settings: Settings) -> FakeOllama:
    """Give a server with two models of 7 GB."""
    server = FakeOllama(installed={n: Installed(7 * GIB) for n in ("one", "two")})
    wire.mount(settings.ollama_host, server)
    return server


class Quiet(httpx.AsyncBaseTransport):
    """A server that does not answer some paths in time."""

    def __init__(self, app: FakeOllama, *paths: str) -> None:
        self._app = httpx.ASGITransport(app)
        self.paths = paths

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path in self.paths:
            raise httpx.ReadTimeout("no answer", request=request)
        return await self._app.handle_async_request(request)


class Agent:
    """What an agent told some seconds ago, and what it says when it is asked."""

    def __init__(self, told: int | None, now: Callable[[], int]) -> None:
        self.told = told
        self.now = now

    async def __call__(self, name: str, /, *, fresh: bool) -> tuple[GpuReading, ...]:
        used = self.now() if fresh else self.told
        age = 0.0 if fresh else 2.0
        return (
            GpuReading(index=0, vram_total=12 * GIB, vram_used=used, age=age, source="node"),
        )  # fmt: skip


async def test_an_agent_is_asked_whether_memory_came_free(
    open_lab: OpenGpu, ollama: FakeOllama
) -> None:
    """What it told before the model was loaded must not be taken for the end of it."""
    lingering = [7 * GIB] * 3

    def now() -> int:
        loaded = ollama.server.loaded
        return lingering.pop() if "one" not in loaded and lingering else sum(loaded.values())

    async with open_lab(FAR) as lab:
        lab.broker.observer.remote = Agent(0, now)
        async with lab.leases.hold(ONE):
            assert "one" in ollama.server.loaded
        async with lab.leases.hold(TWO):
            assert lingering == [], "it was loaded beside what had not left yet"


async def test_memory_that_nobody_saw_free_is_not_given_away(
    open_lab: OpenGpu, ollama: FakeOllama
) -> None:
    def away() -> int:
        raise UpstreamUnavailable("pc does not answer")

    async with open_lab(FAR) as lab:
        lab.broker.observer.remote = agent = Agent(None, away)
        async with lab.leases.hold(ONE):
            pass
        with pytest.raises(Conflict):
            async with lab.leases.hold(TWO, wait_seconds=1.0):
                pass
        (card,) = (await lab.leases.rows()).cards
        assert (ollama.server.loaded, card.foreign_used) == ({}, 7 * GIB)
        agent.told = 0
        async with lab.leases.hold(TWO):
            assert list(ollama.server.loaded) == ["two"]


async def test_a_server_that_is_silent_holds_what_it_held(
    open_lab: OpenGpu, ollama: FakeOllama, wire: Wire, settings: Settings
) -> None:
    ollama.server.loaded["one"] = 7 * GIB
    used = [7 * GIB]
    async with open_lab(HERE, nvml=FakeNvml([FakeCard(12 * GIB, lambda: used[0])])) as lab:
        await lab.leases.look()
        wire.mount(settings.ollama_host, Quiet(ollama, "/api/ps"))
        await lab.leases.look()
        rows = await lab.leases.rows()
        assert [r.model for r in rows.residents] == ["one"]
        assert rows.cards[0].foreign_used == 0, "and it is not counted twice"
        wire.unmount(settings.ollama_host)
        await lab.leases.look()
        rows = await lab.leases.rows()
        assert rows.residents == (), "it is dead, and its models with it"
        assert rows.cards[0].foreign_used == 7 * GIB, "what is still on the card counts"
        used[0] = 0
        await lab.leases.look()
        assert (await lab.leases.rows()).cards[0].foreign_used == 0


async def test_a_load_whose_server_fell_silent_counts_until_the_next_look(
    open_lab: OpenGpu, ollama: FakeOllama, wire: Wire, settings: Settings
) -> None:
    async with open_lab(HERE, nvml=FakeNvml([FakeCard(12 * GIB)])) as lab:
        wire.mount(settings.ollama_host, Quiet(ollama, "/api/generate", "/api/ps"))
        with pytest.raises(NebulaError, match="did not answer"):
            async with lab.leases.hold(ONE):
                pass
        rows = await lab.leases.rows()
        assert [(r.state, r.loader, r.vram) for r in rows.residents] == [
            ("loading", None, 7 * GIB)
        ]  # fmt: skip
        wire.mount(settings.ollama_host, ollama)
        await lab.leases.look()
        assert (await lab.leases.rows()).residents == ()


async def test_who_waits_for_a_load_that_died_with_its_process_loads_it_himself(
    open_lab: OpenGpu, ollama: FakeOllama
) -> None:
    async with open_lab(HERE, nvml=FakeNvml([FakeCard(12 * GIB)])) as lab:
        await lab.leases.look()
        dies, waits = await _placed(lab, "dead"), await _placed(lab, lab.leases.holder)
        assert (dies.must_load, waits.must_load) == (True, False)
        async with lab.leases.tools.db.session() as session:
            lost = text("UPDATE gpu_leases SET state = 'lost' WHERE id = :id")
            await session.execute(lost, {"id": dies.lease.id})
        async with asyncio.timeout(10), lab.leases.kept(waits.lease, None):
            assert "one" in ollama.server.loaded


async def _placed(lab: Gpu, holder: str) -> Grant:
    ledger = lab.leases.tools.ledger
    async with lab.leases.tools.db.session() as session:
        key = await ledger.request(session, ONE, Owner("x", "x"))
        grant = await ledger.place(
            session, key, "pc/0", vram=7 * GIB, one=False, parallel=8, seconds=60, holder=holder
        )
    assert grant is not None
    return grant


async def test_the_own_model_does_not_come_back_while_a_training_has_its_card(
    open_lab: OpenGpu, ollama: FakeOllama
) -> None:
    used = lambda: sum(ollama.server.loaded.values())  # noqa: E731
    training = GpuNeed(klass=PriorityClass.TRAINING, vram=9 * GIB, what="a training", yields=True)
    async with open_lab(HERE, nvml=FakeNvml([FakeCard(12 * GIB, used)])) as lab:
        lab.scheduler.comebacks = None
        async with lab.leases.hold(ONE):
            pass
        async with lab.leases.hold(training):
            assert ollama.server.loaded == {}
            assert await lab.own.evicted()
            assert await lab.own.comebacks(await lab.leases.rows()) == []
        (need,) = await lab.own.comebacks(await lab.leases.rows())
    assert need.model == "one"


DESKTOP = GpuProcess(pid=1, vram=GIB)
RUNNER = GpuProcess(pid=2, vram=3 * GIB, service="ollama")
TASK = GpuProcess(pid=3, vram=4 * GIB, task="t")


@pytest.mark.parametrize(
    ("used", "processes", "promised", "before", "others"),
    [
        (8, (DESKTOP, RUNNER, TASK), 6, 0, 1),  # the task's lease stands for it
        (8, (DESKTOP, RUNNER, TASK), 3, 0, 2),  # which holds more than it asked for
        (8, (DESKTOP, RUNNER, GpuProcess(pid=3, vram=4 * GIB)), 0, 0, 5),  # a program of others
        (5, (), 0, 1, 2),  # nobody says what a process holds, and there are no tasks
        (8, (), 4, 1, 1),
        (8, (GpuProcess(pid=3, task="t"),), 4, 1, 1),  # nor here
        (9, (), 4, 1, 2),  # more than the leases can explain
        (4, (), 4, 1, 1),  # what was foreign before stays so
        (3, (), 4, 1, 0),
    ],
)
def test_work_under_leases_is_not_counted_as_foreign(
    used: int, processes: tuple[GpuProcess, ...], promised: int, before: int, others: int
) -> None:
    card = GpuReading(
        index=0, vram_total=24 * GIB, vram_used=used * GIB, processes=processes, source="node"
    )
    model = Resident(service="ollama", model="one", vram=3 * GIB)
    node = NodeSnapshot(name="pc", gpus=(card,), residents=(model,))
    assert foreign(node, 0, promised * GIB, before=before * GIB) == others * GIB
