from nebula.gpu.policy.decide import decide
from nebula.gpu.simulate.record import Recorded, to_trace
from nebula.gpu.simulate.report import report
from nebula.gpu.simulate.trace import TraceCard
from nebula.gpu.simulate.world import World

GB = 2**30
CARDS = (TraceCard(id="pc/0", capacity=12 * GB),)


def record(name: str, **more) -> Recorded:
    values = {
        "owner": "anna", "klass": "chat", "service": "ollama", "model": "llama3.1:8b",
        "vram": 5 * GB, "created": 1000.0, "started": 1001.0, "ended": 1027.0,
        "load_seconds": 6.0, "loaded": True, **more,
    }  # fmt: skip
    return Recorded(id=name, **values)


def test_what_happened_becomes_a_trace_that_can_be_played() -> None:
    trace = to_trace("monday", CARDS, [record("b", created=1005.0, loaded=False), record("a")])
    assert [(j.id, j.created, j.run_seconds) for j in trace.jobs] == [("a", 0, 20), ("b", 5, 26)]
    assert not trace.simulated
    assert report("ours", World(trace).run(decide)).finished == 2


def test_what_did_not_end_or_has_no_size_is_left_out() -> None:
    trace = to_trace("monday", CARDS, [record("a", ended=None), record("b", vram=None)])
    assert trace.jobs == ()


def test_bare_work_takes_its_memory_with_it() -> None:
    (job,) = to_trace("monday", CARDS, [record("a", service=None, what="lora")]).jobs
    assert (job.service, job.stays, job.holds) == ("lora", False, "copies")
