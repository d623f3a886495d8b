"""Turns what really happened into a trace, so that it can be played again on other cards."""

from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from nebula.gpu.simulate.trace import Trace, TraceCard, TraceJob

# What ran for less is taken to have run this long: a trace has no work without time.
_SHORTEST = 0.1


class Recorded(BaseModel):
    """One request with the lease it got; times in seconds on any one clock."""

    model_config = ConfigDict(frozen=True)

    id: str
    owner: str
    klass: Literal["chat", "image", "batch", "training"]
    service: str | None
    model: str | None = None
    what: str = ""
    vram: int | None
    created: float
    started: float | None
    """When the work began, loading included."""
    ended: float | None
    load_seconds: float
    """What loading takes when it is needed."""
    loaded: bool
    """It was loaded for this request."""
    holds: Literal["one", "models", "copies"] = "models"
    parallel: int = 1
    yields: bool = False


def to_trace(name: str, cards: Iterable[TraceCard], records: Sequence[Recorded]) -> Trace:
    """Return a trace of the records that ended; what has no size or no end is left out."""
    whole = [r for r in records if r.vram and r.started is not None and r.ended is not None]
    first = min((r.created for r in whole), default=0.0)
    jobs = sorted((_job(r, first) for r in whole), key=lambda j: (j.created, j.id))
    return Trace(name=name, cards=tuple(cards), jobs=tuple(jobs), simulated=False)


def _job(record: Recorded, first: float) -> TraceJob:
    taken = (record.ended or 0.0) - (record.started or 0.0)
    run = taken - (record.load_seconds if record.loaded else 0.0)
    return TraceJob(
        id=record.id,
        created=round(record.created - first, 3),
        owner=record.owner,
        klass=record.klass,
        # Bare work shares nothing with other work and takes its memory with it.
        service=record.service or record.what or "GPU work",
        model=record.model,
        vram=record.vram or 0,
        load_seconds=record.load_seconds,
        run_seconds=round(max(_SHORTEST, run), 3),
        holds=record.holds if record.service else "copies",
        parallel=record.parallel,
        stays=record.service is not None,
        yields=record.yields,
    )
