"""Parts of a drawing in layers below each other, and the lines that join them. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from nebula.tool.diagram import Box, Line

WIDTH, HEIGHT = 190.0, 46.0
PAD = 16.0
_GAP_X, _GAP_Y = 28.0, 34.0
_LANE = 18.0

Point = tuple[float, float]


@dataclass
class Exit:
    """A way out of a part: the line so far, which ends at the part's bottom."""

    source: str
    points: list[Point]
    label: str = ""
    dashed: bool = False


@dataclass
class Part:
    """A piece of the drawing with its own origin: boxes, lines, and where lines join it."""

    width: float
    height: float
    boxes: list[Box] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    entries: list[str] = field(default_factory=list)
    """The boxes at its top, where lines come in."""
    exits: list[Exit] = field(default_factory=list)

    def moved(self, x: float, y: float) -> "Part":
        """Move everything of it, and return it."""
        for box in self.boxes:
            box.x, box.y = box.x + x, box.y + y
        for each in self.lines:
            each.points = [(px + x, py + y) for px, py in each.points]
        for way in self.exits:
            way.points = [(px + x, py + y) for px, py in way.points]
        return self

    def box(self, box_id: str) -> Box:
        """Return one of its boxes."""
        return next(box for box in self.boxes if box.id == box_id)


@dataclass
class Node:
    """A part in a layer; a lane that only lets lines through has none."""

    id: str
    part: Part | None
    x: float = 0
    y: float = 0

    @property
    def width(self) -> float:
        """Return how much of its layer it takes."""
        return _LANE if self.part is None else self.part.width

    @property
    def middle(self) -> float:
        """Return where lines go through it."""
        return self.x + self.width / 2


def laned(
    source: str, target: str | None, between: range, layers: Sequence[list[Node]]
) -> list[tuple[str, str]]:
    """Return the pieces of a line, with a lane in every layer that it passes."""
    chain = [source]
    for at in between:
        lane = Node(f"{source}>{target or ''}@{at}", None)
        layers[at].append(lane)
        chain.append(lane.id)
    return list(pairwise([*chain, target] if target is not None else chain))


def assembled(layers: Sequence[list[Node]], edges: Sequence[tuple[str, str]]) -> Part:
    """Place layers below each other, each in the middle, and draw the lines between them."""
    _order(layers, edges)
    widths = [sum(node.width for node in layer) + _GAP_X * (len(layer) - 1) for layer in layers]
    width, y = max(widths), 0.0
    for layer, taken in zip(layers, widths, strict=True):
        x = (width - taken) / 2
        for node in layer:
            node.x, node.y = x, y
            if node.part is not None:
                node.part.moved(x, y)
            x += node.width + _GAP_X
        y += max((node.part.height for node in layer if node.part), default=0) + _GAP_Y
    nodes = {node.id: node for layer in layers for node in layer}
    parts = [node.part for node in nodes.values() if node.part is not None]
    whole = Part(width, y - _GAP_Y)
    whole.boxes = [box for part in parts for box in part.boxes]
    whole.lines = [each for part in parts for each in part.lines]
    whole.entries = [box for node in layers[0] if node.part for box in node.part.entries]
    for part, lane, target in _ways(nodes, edges):
        for way in part.exits:
            if target is None:
                end = [*way.points, *_down(way.points[-1], [*lane])]
                whole.exits.append(Exit(way.source, end, way.label, way.dashed))
            else:
                whole.lines += [_joined(way, lane, target, entry) for entry in target.entries]
    return whole


def line(
    source: str, target: str, points: Sequence[Point], *, label: str = "", dashed: bool = False
) -> Line:
    """Return a line through some points."""
    return Line(source=source, target=target, label=label, dashed=dashed, points=[*points])


def _ways(
    nodes: Mapping[str, Node], edges: Sequence[tuple[str, str]]
) -> Iterator[tuple[Part, list[Point], Part | None]]:
    """Yield each way from a part: through which lanes, and to which part or out of the block."""
    onward = {source: target for source, target in edges if nodes[source].part is None}
    left = {source for source, _ in edges}
    for node in nodes.values():
        if node.part is not None and node.id not in left:
            yield node.part, [], None
    for source, first in edges:
        part = nodes[source].part
        if part is None:
            continue
        lane: list[Point] = []
        at: str | None = first
        while at is not None and nodes[at].part is None:
            lane.append((nodes[at].middle, nodes[at].y))
            at = onward.get(at)
        yield part, lane, nodes[at].part if at is not None else None


def _joined(way: Exit, lane: Sequence[Point], target: Part, entry: str) -> Line:
    box = target.box(entry)
    goals = [*lane, (box.x + box.width / 2, box.y)]
    points = [*way.points, *_down(way.points[-1], goals)]
    return line(way.source, entry, points, label=way.label, dashed=way.dashed)


def _down(begin: Point, goals: Sequence[Point]) -> list[Point]:
    """Return the points that lead down from one to the next, turning just above each."""
    points = [begin]
    for x, y in goals:
        before = points[-1][0]
        if abs(before - x) > 0.5:
            turn = y - _GAP_Y / 2
            points += [(before, turn), (x, turn)]
        points.append((x, y))
    return points[1:]


def _order(layers: Sequence[list[Node]], edges: Sequence[tuple[str, str]]) -> None:
    """Put each step below the middle of what it follows, so that few lines cross."""
    for above, layer in pairwise(layers):
        at = {node.id: place for place, node in enumerate(above)}

        def middle(node: Node, at: Mapping[str, int] = at) -> float:
            found = [at[source] for source, target in edges if target == node.id and source in at]
            return sum(found) / len(found) if found else 0.0

        layer.sort(key=middle)
