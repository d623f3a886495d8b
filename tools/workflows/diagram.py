"""Where the boxes and lines of a workflow go. Pure: a spec and states in, a diagram out.

Blocks are laid out from the inside out. Within a block a step's layer is the length of the longest
way to it; a line over several layers keeps a lane free for itself, so that it crosses no box.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from nebula.tool.diagram import Box, BoxState, Diagram, Shape
from tools.workflows.layers import HEIGHT, PAD, WIDTH, Exit, Node, Part, assembled, laned, line
from tools.workflows.spec import Spec, Step, needs_of
from tools.workflows.starting import starts

_GAP_X, _GAP_Y, _TITLE = 28.0, 34.0, 28.0
_DIAMOND = 54.0
_LONGEST = 44
_LETTER = 7.2
"""Pixels that a letter takes, about."""

States = Mapping[str, BoxState]


def draw(spec: Spec, states: States | None = None, *, title: str = "") -> Diagram:
    """Lay a workflow out, with the states of a run where there is one.

    `states` are by step id; what is not among them is idle.
    """
    known = states or {}
    start = Box(id="start", shape="start", title=spec.name, detail=starts(spec))
    parts = [_leaf(start), _block(spec.steps, known, side_by_side=False)]
    if spec.finally_:
        inner = _block(spec.finally_, known, side_by_side=False)
        parts.append(_framed(inner, Box(id="finally", shape="finally", title="finally")))
    parts.append(_leaf(Box(id="end", shape="end", title="end")))
    nodes = [Node(f"part{at}", part) for at, part in enumerate(parts)]
    edges = [(one.id, other.id) for one, other in pairwise(nodes)]
    whole = assembled([[node] for node in nodes], edges).moved(PAD, PAD)
    width, height = whole.width + 2 * PAD, whole.height + 2 * PAD
    return Diagram(
        title=title or spec.name, width=width, height=height, boxes=whole.boxes, lines=whole.lines
    )


def _block(steps: Sequence[Step], states: States, *, side_by_side: bool) -> Part:
    """Lay out steps by what they wait for; what nothing waits for has a lane to the bottom."""
    needs = needs_of(steps, side_by_side=side_by_side)
    level = _levels(needs)
    layers: list[list[Node]] = [[] for _ in range(max(level.values()) + 1)]
    for step in steps:
        layers[level[step.id]].append(Node(step.id, _step(step, states)))
    edges: list[tuple[str, str]] = []
    for target, sources in needs.items():
        for source in sources:
            if source in level and level[source] < level[target]:
                edges += laned(source, target, range(level[source] + 1, level[target]), layers)
    waited_for = {source for source, _ in edges}
    for step in steps:
        below = range(level[step.id] + 1, len(layers))
        if step.id not in waited_for and below:
            edges += laned(step.id, None, below, layers)
    return assembled(layers, edges)


def _levels(needs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return the longest way to each step; one that waits for itself is not followed further."""
    level: dict[str, int] = {}

    def of(step: str, above: frozenset[str]) -> int:
        if step not in level:
            before = [need for need in needs[step] if need in needs and need not in above]
            level[step] = max((of(need, above | {step}) + 1 for need in before), default=0)
        return level[step]

    for step in needs:
        of(step, frozenset({step}))
    return level


def _step(step: Step, states: States) -> Part:
    state = states.get(step.id, "idle")
    shape, detail = _looks(step)
    box = Box(id=step.id, shape=shape, title=step.name, detail=detail, state=state)
    if step.block is not None:
        inner = _block(step.block, states, side_by_side=step.parallel is not None)
        part = _framed(inner, box)
    elif step.loops:
        kind: Shape = "ask" if step.ask is not None else "tool"
        does = Box(id=f"{step.id}/do", shape=kind, title=step.tool or "ask", state=state)
        part = _framed(_leaf(does), box)
    else:
        part = _leaf(box)
    if step.clean_up:
        inner = _block(step.clean_up, states, side_by_side=False)
        frame = Box(id=f"{step.id}/clean_up", shape="group", title=f"when {step.id} fails")
        part = _beside(part, _framed(inner, frame))
    return part if step.when is None else _under_condition(part, step, state)


def _looks(step: Step) -> tuple[Shape, str]:
    if step.for_each is not None:
        what = step.for_each if isinstance(step.for_each, str) else f"{len(step.for_each)} values"
        return "loop", _short(f"for each of {what}, at most {step.max}")
    if step.repeat is not None:
        return "loop", _short(f"until {step.repeat.until}, at most {step.repeat.max} times")
    if step.parallel is not None:
        return "parallel", "side by side"
    if step.steps is not None:
        return "group", ""
    return ("ask", _short(step.ask)) if step.ask is not None else ("tool", step.tool or "")


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"


def _leaf(box: Box) -> Part:
    box.width = max(WIDTH, _LETTER * max(len(box.title), len(box.detail)) + 24)
    box.height = HEIGHT
    bottom = Exit(box.id, [(box.width / 2, HEIGHT)])
    return Part(box.width, HEIGHT, [box], entries=[box.id], exits=[bottom])


def _framed(inner: Part, frame: Box) -> Part:
    """Put a frame with a title around a part."""
    title = _LETTER * (len(frame.title) + len(frame.detail) + 4) + 24
    frame.width = max(inner.width + 2 * PAD, title)
    frame.height = inner.height + _TITLE + 2 * PAD
    inner.moved((frame.width - inner.width) / 2, _TITLE + PAD)
    for box in inner.boxes:
        box.inside = box.inside or frame.id
    bottom = Exit(frame.id, [(frame.width / 2, frame.height)])
    boxes = [frame, *inner.boxes]
    return Part(frame.width, frame.height, boxes, inner.lines, entries=[frame.id], exits=[bottom])


def _beside(part: Part, frame: Part) -> Part:
    """Put what happens after a failure to the right of a step."""
    frame.moved(part.width + _GAP_X, 0)
    one, other = part.box(part.exits[0].source), frame.box(frame.entries[0])
    y = one.y + min(one.height, other.height) / 2
    ways = [(one.x + one.width, y), (other.x, y)]
    fails = line(one.id, other.id, ways, label="fails", dashed=True)
    return Part(
        part.width + _GAP_X + frame.width,
        max(part.height, frame.height),
        [*part.boxes, *frame.boxes],
        [*part.lines, *frame.lines, fails],
        entries=part.entries,
        exits=part.exits,
    )


def _under_condition(part: Part, step: Step, state: BoxState) -> Part:
    """Put a condition above a step, and keep room for the way around it."""
    assert step.when is not None
    passed: BoxState = state if state in {"idle", "skipped"} else "done"
    diamond = Box(id=f"{step.id}?", shape="condition", title=_short(step.when), state=passed)
    diamond.width = max(WIDTH, (_LETTER + 1) * len(diamond.title) + 60)
    diamond.height = _DIAMOND
    joint = part.box(part.entries[0])
    before = joint.x + joint.width / 2
    # As wide on both sides, so that what stands above and below is in line with it.
    middle = max(before, part.width - before, diamond.width / 2) + PAD
    part.moved(middle - before, _DIAMOND + _GAP_Y)
    diamond.x = middle - diamond.width / 2
    right = 2 * middle
    height = part.height + _DIAMOND + _GAP_Y
    side = (diamond.x + diamond.width, _DIAMOND / 2)
    around = Exit(diamond.id, [side, (right, side[1]), (right, height)], label="no", dashed=True)
    yes = line(diamond.id, joint.id, [(middle, _DIAMOND), (middle, joint.y)], label="yes")
    return Part(
        right,
        height,
        [diamond, *part.boxes],
        [*part.lines, yes],
        entries=[diamond.id],
        exits=[*part.exits, around],
    )
