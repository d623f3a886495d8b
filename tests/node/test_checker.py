"""The checker itself: it names each kind of mistake, and nothing that is right."""

from typing import Any

import pytest

from tests.node.checker import violations


def took(task: str, token: int, vram: int = 1) -> dict[str, Any]:
    return {"event": "accepted", "task": task, "gpu": 0, "token": token, "vram": vram, "at": 0}


def end(task: str) -> dict[str, Any]:
    return {"event": "ended", "task": task, "at": 0}


RIGHT = [took("a", 1), took("c", 3), took("b", 2), end("a"), end("b"), end("c"), took("d", 4)]


def test_a_journal_without_mistakes_has_no_violations() -> None:
    assert violations(RIGHT, {0: 3}) == []


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([took("a", 1), end("a"), end("a")], "ended twice"),
        ([end("a")], "without a beginning"),
        ([took("a", 1), took("a", 1)], "accepted twice"),
        ([took("a", 1, 2), took("b", 2, 2)], "held 4 bytes"),
        ([took("a", 2), end("a"), took("b", 1)], "token 1 after 2"),
    ],
)
def test_each_mistake_is_named(lines: list[dict[str, Any]], said: str) -> None:
    assert any(said in found for found in violations(lines, {0: 3}))
