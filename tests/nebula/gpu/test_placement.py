"""The placement policy as a pure function: what must hold for any card and any map."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from nebula.gpu.placement import plan
from nebula.gpu.plans import SwitchPlan, SwitchRequest
from nebula.gpu.snapshot import (
    GpuProcess,
    GpuReading,
    GpuSnapshot,
    NodeSnapshot,
    Resident,
    ServiceState,
)
from nebula.services.map import GpuSpec, ModelSpec, NodeSpec, ServiceMap, ServiceSpec, Target
from nebula.services.sizes import GIB, MIB

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GPU_STEP = 256 * MIB

sizes = st.integers(1, 40).map(lambda n: n * GPU_STEP)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[GpuSnapshot, SwitchRequest, ServiceMap]:
    """Draw a card with models on it, foreign programs, and something that is asked for."""
    count = draw(st.integers(0, 7))
    models = [
        ModelSpec(
            name=f"m{i}",
            vram=draw(sizes),
            load_seconds=draw(st.floats(1, 60)),
            pinned=draw(st.booleans()) and draw(st.booleans()),
        )
        for i in range(count)
    ]
    wanted = ModelSpec(name="wanted", vram=draw(sizes))
    service = ServiceSpec(name="svc", kind="ollama", node="box", models=(*models, wanted))
    node = NodeSpec(name="box", gpus=(GpuSpec(),), reserve=draw(sizes.filter(lambda s: s <= GIB)))
    residents = tuple(
        Resident(
            service="svc",
            model=m.name,
            vram=draw(st.one_of(st.just(m.vram), st.none())),
            busy=draw(st.sampled_from([None, False, True])),
            last_used=draw(st.one_of(st.none(), st.integers(0, 9000).map(_ago))),
        )
        for m in models
    )
    foreign = draw(st.lists(sizes, max_size=2))
    held = sum(m.vram for m in models) + sum(foreign)
    known = draw(st.booleans())
    card = GpuReading(
        index=0,
        vram_total=held + draw(sizes),
        vram_used=held if known else None,
        processes=tuple(GpuProcess(pid=i, vram=v) for i, v in enumerate(foreign)) if known else (),
        source="nvml",
    )
    state = ServiceState(name="svc", kind="ollama", up=True)
    seen = NodeSnapshot(name="box", gpus=(card,), residents=residents, services=(state,))
    request = SwitchRequest(targets=(Target(service="svc", model="wanted"),))
    return (
        GpuSnapshot(at=NOW, nodes=(seen,)),
        request,
        ServiceMap(nodes=(node,), services=(service,)),
    )


def _ago(seconds: int) -> datetime:
    return NOW - timedelta(seconds=seconds)


def _after(found: SwitchPlan, services: ServiceMap, leaving: set[str | None]) -> int:
    """Return the free bytes after only some of the evictions."""
    freed = sum(e.frees for e in found.evicts if e.resident.model in leaving)
    return (found.free or 0) + freed - (found.needed or 0) - found.reserve


@given(worlds())
def test_a_plan_that_fits_never_goes_over_the_card(
    world: tuple[GpuSnapshot, SwitchRequest, ServiceMap],
) -> None:
    found = plan(*world)
    if found.fits and not found.already:
        assert _after(found, world[2], {e.resident.model for e in found.evicts}) >= 0
        total = world[0].nodes[0].gpus[0].vram_total
        assert total is not None
        assert found.free_after is not None
        assert found.free_after <= total


@given(worlds())
def test_no_eviction_could_be_left_out(
    world: tuple[GpuSnapshot, SwitchRequest, ServiceMap],
) -> None:
    found = plan(*world)
    every = {e.resident.model for e in found.evicts}
    for name in every:
        assert _after(found, world[2], every - {name}) < 0, f"{name} need not go"


@given(worlds())
def test_pinned_models_and_foreign_programs_stay(
    world: tuple[GpuSnapshot, SwitchRequest, ServiceMap],
) -> None:
    found = plan(*world)
    assert not any(world[2].pinned(e.resident.target) for e in found.evicts)
    loaded = set(world[0].nodes[0].residents)
    assert {e.resident for e in found.evicts} | set(found.stays) == loaded
    assert not {e.resident for e in found.evicts} & set(found.stays)


@given(worlds())
def test_every_eviction_is_explained_in_one_sentence(
    world: tuple[GpuSnapshot, SwitchRequest, ServiceMap],
) -> None:
    found = plan(*world)
    assert found.explanation
    for eviction in found.evicts:
        assert eviction.resident.label in eviction.why
        assert "wanted" in eviction.why
        assert "\n" not in eviction.why
    if not found.fits:
        assert found.evicts == ()
        assert found.hint


@given(worlds(), st.randoms())
def test_the_same_card_gives_the_same_plan_in_any_order(
    world: tuple[GpuSnapshot, SwitchRequest, ServiceMap], random: object
) -> None:
    snapshot, request, services = world
    first = plan(snapshot, request, services)
    node = snapshot.nodes[0]
    shuffled = list(node.residents)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    other = node.model_copy(update={"residents": tuple(shuffled)})
    again = plan(GpuSnapshot(at=NOW, nodes=(other,)), request, services)
    assert {e.resident for e in first.evicts} == {e.resident for e in again.evicts}
    assert first.explanation == again.explanation


@given(worlds())
def test_a_refusal_is_never_for_want_of_trying(
    world: tuple[GpuSnapshot, SwitchRequest, ServiceMap],
) -> None:
    snapshot, request, services = world
    found = plan(snapshot, request, services)
    if found.fits:
        return
    loose = [r for r in snapshot.nodes[0].residents if not services.pinned(r.target)]
    freed = sum(services.footprint(r.target).vram or 0 for r in loose)
    assert (found.free or 0) + freed < (found.needed or 0) + found.reserve


@given(worlds())
def test_without_leave_to_evict_nothing_goes(
    world: tuple[GpuSnapshot, SwitchRequest, ServiceMap],
) -> None:
    snapshot, request, services = world
    found = plan(snapshot, request.model_copy(update={"evict": False}), services)
    assert found.evicts == ()


def _two(busy: bool | None = False, idle: int = 60, **more: float) -> SwitchPlan:
    """Plan 4 GB on a full card that holds `first` (4 GB, older) and `second` (4 GB)."""
    models = (
        ModelSpec(name="first", vram=4 * GIB, load_seconds=more.get("first", 10)),
        ModelSpec(name="second", vram=4 * GIB, load_seconds=more.get("second", 10)),
        ModelSpec(name="wanted", vram=4 * GIB),
    )
    services = ServiceMap(
        nodes=(NodeSpec(name="box", reserve=MIB),),
        services=(ServiceSpec(name="svc", kind="ollama", node="box", models=models),),
    )
    residents = (
        Resident(service="svc", model="first", vram=4 * GIB, busy=busy, last_used=_ago(idle)),
        Resident(service="svc", model="second", vram=4 * GIB, last_used=_ago(60)),
    )
    card = GpuReading(index=0, vram_total=9 * GIB, vram_used=8 * GIB, source="nvml")
    node = NodeSnapshot(name="box", gpus=(card,), residents=residents)
    request = SwitchRequest(targets=(Target(service="svc", model="wanted"),))
    return plan(GpuSnapshot(at=NOW, nodes=(node,)), request, services)


def _gone(found: SwitchPlan) -> list[str]:
    return [e.resident.label for e in found.evicts]


def test_the_model_that_was_idle_longest_goes() -> None:
    assert _gone(_two(idle=6000)) == ["first"]
    assert _gone(_two(idle=1)) == ["second"]


def test_of_equally_idle_models_the_one_that_comes_back_sooner_goes() -> None:
    assert _gone(_two(first=30, second=3)) == ["second"]
    assert _gone(_two(first=3, second=30)) == ["first"]


def test_a_working_model_stays_when_an_idle_one_suffices() -> None:
    assert _gone(_two(busy=True, idle=6000)) == ["second"]


def test_a_service_that_claims_more_than_is_used_does_not_make_room_by_words() -> None:
    services = ServiceMap(
        nodes=(NodeSpec(name="box", reserve=MIB),),
        services=(
            ServiceSpec(
                name="svc",
                kind="ollama",
                node="box",
                models=(ModelSpec(name="wanted", vram=8 * GIB),),
            ),
        ),
    )
    game = GpuProcess(pid=1, name="game", vram=6 * GIB)
    card = GpuReading(
        index=0, vram_total=12 * GIB, vram_used=10 * GIB, processes=(game,), source="nvml"
    )
    boaster = Resident(service="svc", model="boaster", vram=10 * GIB)
    node = NodeSnapshot(name="box", gpus=(card,), residents=(boaster,))
    request = SwitchRequest(targets=(Target(service="svc", model="wanted"),))
    found = plan(GpuSnapshot(at=NOW, nodes=(node,)), request, services)
    assert not found.fits, "the game's 6 GB cannot come free"
    assert "game (6.0 GB)" in found.refusal


def test_a_card_of_unknown_size_is_not_guessed() -> None:
    services = ServiceMap(
        nodes=(NodeSpec(name="box"),),
        services=(ServiceSpec(name="svc", kind="comfyui", node="box", vram=7 * GIB),),
    )
    card = GpuReading(index=0, source="map")
    node = NodeSnapshot(name="box", gpus=(card,))
    request = SwitchRequest(targets=(Target(service="svc"),))
    found = plan(GpuSnapshot(at=NOW, nodes=(node,)), request, services)
    assert not found.fits
    assert "not known" in found.refusal


def test_what_the_service_holds_already_counts_towards_its_need() -> None:
    services = ServiceMap(
        nodes=(NodeSpec(name="box", reserve=MIB),),
        services=(ServiceSpec(name="comfy", kind="comfyui", node="box", vram=7 * GIB),),
    )
    card = GpuReading(index=0, vram_total=12 * GIB, vram_used=4 * GIB, source="nvml")
    resident = Resident(service="comfy", vram=4 * GIB)
    node = NodeSnapshot(name="box", gpus=(card,), residents=(resident,))
    request = SwitchRequest(targets=(Target(service="comfy"),))
    found = plan(GpuSnapshot(at=NOW, nodes=(node,)), request, services)
    assert found.needed == 3 * GIB
    assert found.evicts == ()


def test_a_real_service_that_runs_is_preferred_to_a_simulated_one() -> None:
    services = ServiceMap(
        nodes=(NodeSpec(name="sim", simulated=True), NodeSpec(name="box")),
        services=(
            ServiceSpec(name="pretend", kind="comfyui", node="sim", vram=GIB),
            ServiceSpec(name="real", kind="comfyui", node="box", vram=GIB),
        ),
    )
    card = GpuReading(index=0, vram_total=12 * GIB, vram_used=0, source="nvml")
    request = SwitchRequest(targets=(Target(service="pretend"), Target(service="real")))

    def chosen(*, up: bool) -> str:
        states = (ServiceState(name="real", kind="comfyui", up=up, reason="refused"),)
        pretend = (ServiceState(name="pretend", kind="comfyui", up=True, simulated=True),)
        nodes = (
            NodeSnapshot(name="sim", gpus=(card,), services=pretend, simulated=True),
            NodeSnapshot(name="box", gpus=(card,), services=states),
        )
        return plan(GpuSnapshot(at=NOW, nodes=nodes), request, services).target.service

    assert chosen(up=True) == "real"
    assert chosen(up=False) == "pretend"
