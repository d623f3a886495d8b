from pathlib import Path

import pytest

from nebula.errors import InvalidInput
from nebula.gpu.policy.decide import decide
from nebula.gpu.policy.types import Evict, Snapshot, Start
from nebula.gpu.simulate import trace as traces
from nebula.gpu.simulate.bound import lower_bound, volume_bound
from nebula.gpu.simulate.generate import batch, cards, home, online
from nebula.gpu.simulate.peers import PEERS
from nebula.gpu.simulate.report import report
from nebula.gpu.simulate.trace import Trace, TraceCard, TraceJob
from nebula.gpu.simulate.world import World

GB = 2**30


def job(name: str, *, at: float = 0.0, gb: float = 4, run: float = 10, model: str = "m", **more):
    values = {"owner": "anna", "klass": "batch", "service": "s", "load_seconds": 2.0, **more}
    return TraceJob(id=name, created=at, model=model, vram=int(gb * GB), run_seconds=run, **values)


def small(*jobs: TraceJob, gb: float = 8) -> Trace:
    return Trace(name="t", cards=(TraceCard(id="pc/0", capacity=int(gb * GB)),), jobs=jobs)


def test_the_same_seed_gives_the_same_trace_and_the_same_run() -> None:
    assert home(7) == home(7)
    assert home(7) != home(8)
    first, second = (report("ours", World(home(7, jobs=40)).run(decide)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("make", [batch, online, home])
def test_every_job_of_a_trace_ends_without_overcommitting_a_card(make) -> None:
    trace = make(11, jobs=40)
    for name, policy in {"ours": lambda _: decide, **PEERS}.items():
        found = report(name, World(trace).run(policy(trace)))
        assert found.violations == (), name
        assert found.finished == 40, name
        assert found.ratio >= 1, name


def test_the_world_notices_a_policy_that_overcommits() -> None:
    def greedy(snapshot: Snapshot) -> list[Start]:
        return [Start(r.id, "pc/0", None, r.options[0].vram or 0, "") for r in snapshot.waiting]

    trace = small(job("a", gb=5), job("b", gb=5, model="n"))
    assert "over-committed" in World(trace).run(greedy).violations[0]


def test_the_world_notices_that_a_model_in_use_was_unloaded() -> None:
    def rude(snapshot: Snapshot) -> list[Start | Evict]:
        found: list[Start | Evict] = [
            Start(r.id, "pc/0", None, r.options[0].vram or 0, "")
            for r in snapshot.waiting
            if r.id == "a"
        ]
        found += [Evict(i.id, "b", "") for i in snapshot.loaded if i.state == "loaded"]
        return found

    trace = small(job("a", run=60), job("b", at=5))
    assert any("while it was needed" in v for v in World(trace).run(rude).violations)


def test_a_job_alone_is_loaded_and_then_runs() -> None:
    found = report("ours", World(small(job("a"), job("b", at=20))).run(decide))
    assert (found.makespan, found.loads, found.longest_wait) == (30, 1, 0)


def test_the_bound_knows_that_two_large_jobs_never_share_a_card() -> None:
    trace = small(*(job(f"j{n}", gb=5, run=10) for n in range(4)))
    assert volume_bound(trace) == pytest.approx(25)
    assert lower_bound(trace) == pytest.approx(40)


def test_the_bound_counts_from_the_moment_that_work_came() -> None:
    late = small(job("a", run=1), job("b", at=100, gb=8, run=10), job("c", at=100, gb=8, run=10))
    assert lower_bound(late) == pytest.approx(120)


def test_a_trace_written_to_a_file_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    traces.write(home(3, jobs=20), path)
    assert traces.read(path) == home(3, jobs=20)


def test_a_broken_trace_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    traces.write(home(3, jobs=3), path)
    path.write_text(path.read_text().replace('"run_seconds":', '"seconds":', 1))
    with pytest.raises(InvalidInput, match="line 2"):
        traces.read(path)
    with pytest.raises(InvalidInput, match="cannot be read"):
        traces.read(tmp_path / "none.jsonl")


def test_another_card_brings_shorter_waits() -> None:
    trace = home(5, sizes=(12,), jobs=80)
    one = report("one", World(trace).run(decide))
    two = report("two", World(trace.on(cards(12, 24))).run(decide))
    assert two.longest_wait < one.longest_wait
