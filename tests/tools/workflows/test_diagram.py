"""The diagram of a workflow: boxes in layers that do not overlap, and lines that go down."""

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nebula.tool.diagram import FRAMES, Box, Diagram, outline
from nebula.tool.render import to_markdown
from tools.workflows.diagram import draw
from tools.workflows.spec import Spec


def of(steps: list[dict[str, Any]], **more: Any) -> Spec:
    return Spec.model_validate({"name": "sample", "steps": steps, **more})


EVERYTHING = of(
    [
        {"id": "look", "tool": "gpu_status"},
        {"id": "warn", "tool": "notify_send", "when": "steps.look.result.free < 10 GB"},
        {
            "id": "both",
            "parallel": [{"id": "one", "tool": "a_b"}, {"id": "two", "tool": "c_d", "needs": []}],
        },
        {"id": "each", "tool": "e_f", "for_each": "inputs.names", "max": 5},
        {"id": "sure", "ask": "Go on?", "clean_up": [{"id": "undo", "tool": "g_h"}]},
    ],
    **{"finally": [{"id": "last", "tool": "i_j"}]},
)


def overlap(one: Box, other: Box) -> bool:
    return (
        one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    )


def check(diagram: Diagram) -> None:
    boxes = {box.id: box for box in diagram.boxes}
    assert len(boxes) == len(diagram.boxes)
    for one, other in combinations(diagram.boxes, 2):
        if one.inside == other.inside:
            assert not overlap(one, other), (one, other)
    for box in diagram.boxes:
        assert box.x >= 0 <= box.y
        assert box.x + box.width <= diagram.width
        assert box.y + box.height <= diagram.height
        if box.inside:
            frame = boxes[box.inside]
            assert frame.shape in FRAMES
            assert frame.x <= box.x
            assert box.x + box.width <= frame.x + frame.width
            assert box.y + box.height <= frame.y + frame.height
    for line in diagram.lines:
        begin, end = boxes[line.source], boxes[line.target]
        if line.label != "fails":
            assert line.points[0][1] < line.points[-1][1], "lines go down"
            assert line.points[-1][1] == pytest.approx(end.y)
        assert begin.y - 1 <= line.points[0][1] <= begin.y + begin.height + 1


def test_each_kind_of_step_looks_different_and_nothing_overlaps() -> None:
    diagram = draw(EVERYTHING, {"look": "done", "warn": "skipped", "sure": "waiting"})
    check(diagram)
    shapes = {box.id: box.shape for box in diagram.boxes}
    assert shapes["warn?"] == "condition"
    assert (shapes["both"], shapes["each"], shapes["sure"]) == ("parallel", "loop", "ask")
    assert (shapes["start"], shapes["end"], shapes["finally"]) == ("start", "end", "finally")
    states = {box.id: box.state for box in diagram.boxes}
    assert (states["look"], states["warn"], states["sure"]) == ("done", "skipped", "waiting")
    ways = {(line.source, line.target, line.label) for line in diagram.lines}
    assert ("warn?", "warn", "yes") in ways
    assert ("warn?", "both", "no") in ways
    assert ("sure", "sure/clean_up", "fails") in ways


def test_a_door_without_pictures_shows_an_indented_list() -> None:
    diagram = draw(EVERYTHING, {"look": "done"})
    lines = [(depth, title) for depth, title, _ in outline(diagram)]
    assert lines[:4] == [(0, "✓ look"), (0, "· warn"), (0, "· both"), (1, "· one")]
    said = to_markdown([diagram])
    assert "when steps.look.result.free" in said.replace("\\", "")


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_graph_of_steps_is_laid_out_without_overlap(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 9))
    steps: list[dict[str, Any]] = []
    for at in range(size):
        before = [f"s{each}" for each in range(at)]
        needs = data.draw(st.lists(st.sampled_from(before), unique=True, max_size=3)) if at else []
        step: dict[str, Any] = {"id": f"s{at}", "tool": "a_b", "needs": needs}
        if data.draw(st.booleans()):
            step["when"] = "inputs.x"
        steps.append(step)
    spec = of(steps)
    diagram = draw(spec)
    check(diagram)
    level = {box.id: box.y for box in diagram.boxes}
    for step in steps:
        assert all(level[need] < level[step["id"]] for need in step["needs"])
    reached = {line.source for line in diagram.lines}
    assert {f"s{at}" for at in range(size)} <= reached, "every step leads on"
