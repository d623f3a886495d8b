"""What a tool returns, and how every door shows it without a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field

from nebula.policy.labels import Label
from nebula.tool.diagram import Diagram


class Markdown(BaseModel):
    """A paragraph of Markdown written by us; values inside must be escaped with `escape`."""

    kind: Literal["markdown"] = "markdown"
    text: str


class Table(BaseModel):
    """A table; every cell is plain text."""

    kind: Literal["table"] = "table"
    title: str = ""
    columns: list[str]
    rows: list[list[str]]


class Image(BaseModel):
    """A picture of the artefact store, by its own URL path."""

    kind: Literal["image"] = "image"
    url: str
    alt: str


class Plot(BaseModel):
    """A Plotly figure as its JSON document."""

    kind: Literal["plot"] = "plot"
    title: str = ""
    figure: dict[str, Any]


class Choices(BaseModel):
    """A question with answers to pick from; each option is a label and what picking it sends."""

    kind: Literal["choices"] = "choices"
    question: str
    options: list[tuple[str, str]]


class JobProgress(BaseModel):
    """A job that runs on: its state when this was written; a door shows it live by its id."""

    kind: Literal["job"] = "job"
    job_id: str
    tool: str
    state: str
    fraction: float | None = None
    message: str = ""


class Live(BaseModel):
    """A part of a page that keeps itself up to date; doors without such parts show `blocks`."""

    kind: Literal["live"] = "live"
    view: str
    """Which part it is: a name that the door knows, such as `agents`."""
    of: str = ""
    """The id of what it shows."""
    text: str = ""
    """What is said beside it, as Markdown written by us."""
    blocks: "list[Block]"
    """The same at the moment it was written."""


Block = Annotated[
    Markdown | Table | Image | Plot | Choices | JobProgress | Live | Diagram,
    Field(discriminator="kind"),
]


@dataclass(frozen=True)
class ShownOnce:
    """Marks a required field of a result that holds a secret: who asked sees it, no record does."""

    hint: str
    """How to get a fresh one."""


class Result(BaseModel):
    """The base of every tool's output."""

    def render(self) -> Sequence[Block]:
        """Say how to show this result; override where a table or picture says it better."""
        from nebula.tool.render import generic_blocks

        return generic_blocks(self)

    def origin(self) -> Label:
        """Say where this result's text came from, when the tool declares `outside=True`."""
        return Label.OUTSIDE

    @classmethod
    def shown_once(cls) -> dict[str, ShownOnce]:
        """Return the fields that are shown once and kept nowhere."""
        return {
            name: mark
            for name, field in cls.model_fields.items()
            for mark in field.metadata
            if isinstance(mark, ShownOnce)
        }

    def kept(self) -> Self:
        """Return what may be kept of it: the next step stands for what is shown once."""
        once = {name: f"Shown once. {mark.hint}" for name, mark in self.shown_once().items()}
        return self.model_copy(update=once) if once else self
