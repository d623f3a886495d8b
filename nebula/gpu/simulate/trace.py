"""A trace: which jobs came when, and what each took. A file of JSON lines, one record a line.

The first line describes the trace and its cards, every further line is one job. Sizes are bytes,
times are seconds since the trace began.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nebula.errors import InvalidInput
from nebula.gpu.policy.types import PriorityClass

_MOST_JOBS = 100_000


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TraceCard(_Frozen):
    """A card of the trace; `capacity` is what may be used of it."""

    id: str
    capacity: int = Field(gt=0)

    @property
    def node(self) -> str:
        """Return the machine that it is in."""
        return self.id.rpartition("/")[0] or self.id


class TraceJob(_Frozen):
    """One job as it was: when it came, what it needed, how long it took."""

    id: str
    created: float = Field(ge=0)
    owner: str
    klass: Literal["chat", "image", "batch", "training"]
    service: str
    model: str | None = None
    vram: int = Field(gt=0)
    load_seconds: float = Field(ge=0)
    run_seconds: float = Field(gt=0)
    expected_seconds: float | None = Field(default=None, gt=0)
    """What was expected before it ran; None = exactly what it took."""
    holds: Literal["one", "models", "copies"] = "models"
    parallel: int = Field(default=1, ge=1)
    stays: bool = True
    """What it loads stays loaded until something else needs the memory."""
    yields: bool = False

    @property
    def priority_class(self) -> PriorityClass:
        """Return its class as the policy names it."""
        return PriorityClass[self.klass.upper()]

    @property
    def key(self) -> tuple[str, str | None]:
        """Return what must be loaded for it."""
        return self.service, self.model


class Trace(_Frozen):
    """Jobs in the order in which they came, and the cards they ran on."""

    name: str
    cards: tuple[TraceCard, ...] = Field(min_length=1)
    jobs: tuple[TraceJob, ...] = Field(max_length=_MOST_JOBS)
    simulated: bool = True
    """False = recorded from real work."""

    @model_validator(mode="after")
    def _once(self) -> Self:
        for kind, ids in (("card", [c.id for c in self.cards]), ("job", [j.id for j in self.jobs])):
            if len(set(ids)) < len(ids):
                raise ValueError(f"a {kind} appears twice")
        return self

    def on(self, cards: Iterable[TraceCard]) -> "Trace":
        """Return the same work on other cards."""
        return self.model_copy(update={"cards": tuple(cards)})


class _Head(_Frozen):
    trace: str
    cards: tuple[TraceCard, ...]
    simulated: bool = True


def write(trace: Trace, path: Path) -> None:
    """Write a trace as JSON lines."""
    head = _Head(trace=trace.name, cards=trace.cards, simulated=trace.simulated)
    lines = [
        head.model_dump_json(),
        *(j.model_dump_json(exclude_defaults=True) for j in trace.jobs),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read(path: Path) -> Trace:
    """Read a trace.

    Raises:
        InvalidInput: when the file is missing, or a line is no record of a trace.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read", hint="Name a trace file.") from error
    number = 1
    try:
        head = _Head.model_validate_json(lines[0] if lines else "")
        jobs = []
        for number, line in enumerate(lines[1:], start=2):  # noqa: B007 - named in the error
            if line.strip():
                jobs.append(TraceJob.model_validate_json(line))
        jobs.sort(key=lambda j: (j.created, j.id))
        return Trace(name=head.trace, cards=head.cards, jobs=tuple(jobs), simulated=head.simulated)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(
            f"line {number} of {path} is no part of a trace: {where} {first['msg']}".rstrip(),
            hint="The first line names the trace and its cards, each other line one job.",
        ) from error
