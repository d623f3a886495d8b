"""What fewer model loads cost: P5's traces with their work held back and played in waves.

A job that is held back only starts later than it could, so what comes out is a schedule of the
trace as it is: makespan and waits are counted from the moment that the job was really asked for.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from statistics import mean

from benchmarks.table import show
from nebula.gpu.policy.decide import decide
from nebula.gpu.simulate.bound import lower_bound
from nebula.gpu.simulate.history import Outcome
from nebula.gpu.simulate.peers import exclusive_fifo
from nebula.gpu.simulate.report import quantile
from nebula.gpu.simulate.trace import Trace
from nebula.gpu.simulate.world import World

_Change = Callable[[Trace], Trace]


def of_online(traces: Sequence[Trace]) -> str:
    """Return loads and makespan of the work in fewer and fewer waves, the later the shorter."""
    base = mean(World(t).run(exclusive_fifo).loads for t in traces)
    bounds = [lower_bound(t) for t in traces]
    rows = []
    for waves in (0, 20, 10, 4, 2, 1):
        changed = [_held(t, _shrinking(t, waves)) if waves else t for t in traces]
        histories = [World(t).run(decide) for t in changed]
        loads = mean(h.loads for h in histories)
        ratios = [
            (max(o.ended or 0 for o in h.outcomes.values()) - t.jobs[0].created) / bound
            for h, t, bound in zip(histories, traces, bounds, strict=True)
        ]
        name = f"in {waves} wave{'s'[: waves > 1]}" if waves else "as it comes"
        rows.append([name, f"{loads:.0f}", f"{loads / base:.2f}", f"{mean(ratios):.3f}"])
    columns = ["online, when work is started", "loads", "÷ FIFO", "ratio"]
    return show(columns, rows)


def of_home(traces: Sequence[Trace]) -> str:
    """Return loads and waits of the work in waves, and of the chats with nothing beside them."""
    base = mean(World(t).run(exclusive_fifo).loads for t in traces)
    ways: list[tuple[str, _Change]] = [
        ("as it comes", lambda trace: trace),
        ("in a wave every 5 min", lambda trace: _held(trace, _even(trace, 300.0))),
        ("in a wave every 20 min", lambda trace: _held(trace, _even(trace, 1200.0))),
        ("chats alone, nothing else runs", _chats),
    ]
    rows = []
    for name, change in ways:
        histories = [World(change(t)).run(decide) for t in traces]
        loads = mean(h.loads for h in histories)
        waits = [_chat_waits(t, h.outcomes) for t, h in zip(traces, histories, strict=True)]
        rows.append([
            name, f"{loads:.0f}", f"{loads / base:.2f}",
            f"{mean(quantile(w, 0.5) for w in waits):,.0f} / "
            f"{mean(quantile(w, 0.95) for w in waits):,.0f}",
        ])  # fmt: skip
    return show(
        ["home, when work is started", "loads", "÷ FIFO", "chat waits p50 / p95 in s"], rows
    )


def _held(trace: Trace, gates: Sequence[float]) -> Trace:
    """Let every job come at the first gate after it was asked for."""
    jobs = tuple(
        job.model_copy(update={"created": gates[bisect_left(gates, job.created)]})
        for job in trace.jobs
    )
    return trace.model_copy(update={"jobs": jobs})


def _shrinking(trace: Trace, waves: int) -> list[float]:
    """Return gates ever closer to each other, so that little is left to do after the last."""
    last = max(job.created for job in trace.jobs)
    return [last * (1 - (1 - n / waves) ** 1.5) for n in range(1, waves + 1)]


def _even(trace: Trace, seconds: float) -> list[float]:
    last = max(job.created for job in trace.jobs)
    return [seconds * n for n in range(int(last // seconds) + 2)]


def _chats(trace: Trace) -> Trace:
    jobs = tuple(job for job in trace.jobs if job.klass == "chat")
    return trace.model_copy(update={"jobs": jobs})


def _chat_waits(trace: Trace, outcomes: dict[str, Outcome]) -> list[float]:
    asked = {job.id: job.created for job in trace.jobs if job.klass == "chat"}
    return sorted((outcomes[name].started or 0) - at for name, at in asked.items())
