"""What a workflow is: inputs, steps, and what starts it; as people write it in YAML."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from nebula.events.triggers import Trigger
from tools.workflows.amounts import seconds_of

NAME = r"^[a-z][a-z0-9-]{1,39}$"
STEP_ID = r"^[a-z][a-z0-9_]{0,39}$"
MOST_STEPS = 100
MOST_DEPTH = 5
FINALLY = "finally/"
"""How the paths of the last steps begin."""
LONGEST_EXPRESSION = 1_000
"""Characters."""

Seconds = Annotated[float, BeforeValidator(seconds_of), Field(gt=0, le=86_400)]
"""Written as `10 s`, `5 min`, `2 h`, or a number of seconds."""
Expression = Annotated[str, Field(min_length=1, max_length=LONGEST_EXPRESSION)]
InputType = Literal["text", "integer", "number", "boolean", "list", "object"]

_STRICT = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Input(BaseModel):
    """A value that a run is given."""

    model_config = _STRICT

    type: InputType = "text"
    description: str = Field("", max_length=300)
    default: Any = None
    required: bool = False
    """A run must give it; else it has its default, or nothing."""
    choices: list[str | int | float] = Field(default_factory=list, max_length=50)


class Retry(BaseModel):
    """How often a step is tried again after a failure that may pass, doubling the wait."""

    model_config = _STRICT

    times: int = Field(2, ge=1, le=10)
    wait: Seconds = 5.0


class Repeat(BaseModel):
    """Do a step again until something holds, at most so often."""

    model_config = _STRICT

    until: Expression
    max: int = Field(10, ge=1, le=100)
    every: Seconds | None = None


class Step(BaseModel):
    """One step: a tool, a question to a person, or a block of steps in order or side by side."""

    model_config = _STRICT

    id: str = Field(pattern=STEP_ID)
    title: str = Field("", max_length=80)
    tool: str | None = Field(None, max_length=48)
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    ask: str | None = Field(None, min_length=1, max_length=1_000)
    steps: "list[Step] | None" = Field(None, min_length=1, max_length=50)
    parallel: "list[Step] | None" = Field(None, min_length=1, max_length=20)
    needs: list[str] | None = Field(None, max_length=20)
    """The steps beside it that come first; the one before it when left out."""
    when: Expression | None = None
    for_each: Expression | list[Any] | None = None
    max: int = Field(20, ge=1, le=200)
    """Rounds of `for_each`; a longer list is a failure."""
    at_once: int = Field(1, ge=1, le=8)
    repeat: Repeat | None = None
    retry: Retry | None = None
    timeout: Seconds | None = None
    on_failure: Literal["stop", "continue"] = "stop"
    clean_up: "list[Step]" = Field(default_factory=list, max_length=10)
    """Run when it has failed, before the workflow stops or goes on."""

    @model_validator(mode="after")
    def _one_kind(self) -> "Step":
        kinds = [self.tool, self.ask, self.steps, self.parallel]
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError("a step has one of tool, ask, steps and parallel")
        if self.with_ and self.tool is None:
            raise ValueError("`with` gives a tool its arguments")
        if (self.retry or self.timeout) and self.tool is None:
            raise ValueError("`retry` and `timeout` belong to a tool")
        if self.for_each is not None and self.repeat is not None:
            raise ValueError("a step has `for_each` or `repeat`, not both")
        return self

    @property
    def block(self) -> "Sequence[Step] | None":
        """Return the steps within it, if it is a block."""
        return self.steps if self.steps is not None else self.parallel

    @property
    def loops(self) -> bool:
        """Say whether it may be done several times in one run."""
        return self.for_each is not None or self.repeat is not None

    @property
    def name(self) -> str:
        """Return what people read."""
        return self.title or self.id.replace("_", " ")


class Spec(BaseModel):
    """A workflow as a person describes it; ready-made workflows are files of these."""

    model_config = _STRICT

    name: str = Field(pattern=NAME)
    description: str = Field("", max_length=500)
    inputs: dict[str, Input] = Field(default_factory=dict, max_length=20)
    steps: list[Step] = Field(min_length=1, max_length=50)
    finally_: list[Step] = Field(default_factory=list, alias="finally", max_length=10)
    """Run at the end, whatever happened."""
    output: dict[str, Any] = Field(default_factory=dict, max_length=20)
    """What a run says at its end, from its steps."""
    cron: str | None = Field(None, max_length=200)
    timezone: str = "UTC"
    trigger: Trigger | None = None
    overlap: Literal["skip", "queue"] = "skip"
    minutes: float = Field(60.0, gt=0, le=1_440)
    """How long a run may work; waiting for a person or a job does not count."""
    runs_per_day: int = Field(200, ge=1, le=5_000)
    failures: int = Field(5, ge=1, le=50)
    """Failed runs in a row, begun by themselves, that switch it off."""

    def every_step(self) -> "Iterator[tuple[int, Step]]":
        """Yield each step with its depth, in the order in which it is written."""
        yield from _each(self.steps, 1)
        yield from _each(self.finally_, 1)


def _each(steps: Sequence[Step], depth: int) -> Iterator[tuple[int, Step]]:
    for step in steps:
        yield depth, step
        yield from _each(step.block or (), depth + 1)
        yield from _each(step.clean_up, depth + 1)


def needs_of(siblings: Sequence[Step], *, side_by_side: bool) -> dict[str, tuple[str, ...]]:
    """Return which of its siblings each step waits for."""
    found: dict[str, tuple[str, ...]] = {}
    before: str | None = None
    for step in siblings:
        if step.needs is not None:
            found[step.id] = tuple(step.needs)
        else:
            found[step.id] = () if side_by_side or before is None else (before,)
        before = step.id
    return found
