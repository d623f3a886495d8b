"""What people say to agents is understood without a model."""

from typing import Any

import pytest

from nebula.llm.command.answers import Call
from nebula.llm.command.mode import CommandMode
from nebula.llm.embedding import Embedder
from nebula.tool.registry import Registry
from nebula.tool.retrieval import ToolIndex

REGISTRY = Registry.discover("tools", "graphs")
MODE = CommandMode(ToolIndex(REGISTRY, Embedder()), slot_values={}, about=REGISTRY.about)
BOTH = ["morning-report", "service-watch"]

SAID: list[tuple[str, str, dict[str, Any]]] = [
    (
        "ask the agents morning-report and service-watch to find out why renders are slow",
        "agents_orchestrate",
        {"agents": BOTH, "task": "find out why renders are slow"},
    ),
    (
        "let agents morning-report, service-watch work on the slow renders",
        "agents_orchestrate",
        {"agents": BOTH, "task": "the slow renders"},
    ),
    ("show the board", "agents_get_board", {}),
    ("show board brd_1", "agents_get_board", {"board": "brd_1"}),
    ("how far are my agents", "agents_get_board", {}),
    ("stop the run of the agent morning-report", "agents_stop", {"which": "morning-report"}),
    ("cancel board brd_1", "agents_stop", {"which": "brd_1"}),
]


@pytest.mark.parametrize(("said", "name", "arguments"), SAID)
def test_a_plain_command_becomes_one_call(said: str, name: str, arguments: dict[str, Any]) -> None:
    assert MODE.match_exact(said, list(REGISTRY)) == Call(name, arguments)
