"""A picture of steps: boxes with places, and the lines between them. Doors draw it as they can."""

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel

Shape = Literal["start", "end", "tool", "ask", "condition", "loop", "parallel", "group", "finally"]
"""What a box stands for; the last four are frames around other boxes."""
FRAMES: frozenset[Shape] = frozenset({"loop", "parallel", "group", "finally"})

BoxState = Literal[
    "idle", "running", "waiting", "done", "failed", "skipped", "unknown", "cancelled"
]
"""How a step stands; everything is idle where no run is shown."""

_MARKS: dict[BoxState, str] = {
    "idle": "·",
    "running": "▶",
    "waiting": "?",
    "done": "✓",
    "failed": "✗",
    "skipped": "-",
    "unknown": "!",
    "cancelled": "-",
}


class Box(BaseModel):
    """One step, condition or frame: its middle text, and where it is, in pixels from top left."""

    id: str
    shape: Shape
    title: str
    detail: str = ""
    """A second, smaller line: the tool, a condition, the bounds of a loop."""
    state: BoxState = "idle"
    inside: str = ""
    """The frame that holds it, by its id; empty for none."""
    x: float = 0
    y: float = 0
    width: float = 0
    height: float = 0


class Line(BaseModel):
    """A line from one box to another, as the points it goes through."""

    source: str
    target: str
    label: str = ""
    dashed: bool = False
    """It is the way that is not usually taken: around a step, or after a failure."""
    points: list[tuple[float, float]]


class Diagram(BaseModel):
    """A drawing of steps; frames come before what they hold."""

    kind: Literal["diagram"] = "diagram"
    title: str = ""
    width: float
    height: float
    boxes: list[Box]
    lines: list[Line]


def outline(diagram: Diagram) -> Iterator[tuple[int, str, str]]:
    """Yield (depth, mark and title, detail) of each step in order, for doors that show text."""
    depths: dict[str, int] = {"": -1}
    conditions = {box.id.removesuffix("?"): box.title for box in _of(diagram, "condition")}
    for box in diagram.boxes:
        if box.shape in {"start", "end", "condition"}:
            continue
        depths[box.id] = depth = depths.get(box.inside, -1) + 1
        when = f"when {conditions[box.id]}" if box.id in conditions else ""
        detail = ", ".join(part for part in (box.detail, when) if part)
        yield depth, f"{_MARKS[box.state]} {box.title}", detail


def _of(diagram: Diagram, shape: Shape) -> list[Box]:
    return [box for box in diagram.boxes if box.shape == shape]
