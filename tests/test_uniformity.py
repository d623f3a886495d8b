"""Every tool and feature keeps the rules of the house."""

import ast
import json
import re
from pathlib import Path

import pytest

from docs.generate import ROOT, catalogue
from nebula.jobs.job import JobHandle
from nebula.policy.ask import Ask, Verdict
from nebula.policy.decide import decide
from nebula.policy.rules import Rules
from nebula.tool.definition import AnyTool, Audience, Effect, EffectKind, secrets_of
from nebula.tool.registry import Registry
from tests.people import caller

REGISTRY = Registry.discover("tools", "graphs")
TOOLS = [pytest.param(tool, id=tool.name) for tool in REGISTRY]
FEATURES = sorted(path.parent for path in (ROOT / "tools").glob("*/__init__.py"))
SOURCES = sorted(
    path
    for folder in (
        "node",
        "nebula",
        "tools",
        "agents",
        "graphs",
        "memory",
        "knowledge",
        "api",
        "ui",
    )
    for path in (ROOT / folder).rglob("*.py")
    if "migrations" not in path.parts
)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_is_described_for_people_and_models(tool: AnyTool) -> None:
    assert tool.summary.endswith("."), "the first line is a sentence"
    assert len(tool.says) + len(tool.examples) >= 2
    assert all(field.description for field in tool.input_model.model_fields.values())


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_is_named_in_a_test(tool: AnyTool) -> None:
    assert re.search(rf"\b{tool.name}\b", _test_text()), f"no test mentions {tool.name}"


def _test_text(cache: list[str] = []) -> str:  # noqa: B006 - read once for all tools
    if not cache:
        cache.append("\n".join(p.read_text() for p in (ROOT / "tests").rglob("test_*.py")))
    return cache[0]


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_that_destroys_always_asks_a_person(tool: AnyTool) -> None:
    for by_model in (True, False):
        verdict = decide(Ask(tool, caller("admin", by_model=by_model)), Rules()).verdict
        if tool.effect is Effect.DESTRUCTIVE:
            assert verdict in {Verdict.CONFIRM, Verdict.BLOCK}
        if tool.audience is Audience.HUMAN and by_model:
            assert verdict is Verdict.BLOCK


@pytest.mark.parametrize("tool", [p for p in TOOLS if p.values[0].background])
def test_a_background_tool_has_time_and_says_how_its_effect_may_be_repeated(tool: AnyTool) -> None:
    assert tool.timeout >= 60, "what ends sooner needs no job"
    assert tool.answer_model is JobHandle
    assert secrets_of(tool) == []
    if tool.kind is EffectKind.OPAQUE:
        assert tool.effect is not Effect.READ, "a read may always be repeated"


@pytest.mark.parametrize("feature", FEATURES, ids=lambda path: path.name)
def test_a_feature_has_its_docstring_its_tools_and_its_tests(feature: Path) -> None:
    init = ast.parse((feature / "__init__.py").read_text())
    assert ast.get_docstring(init), "the first line of the docstring is what routing reads"
    assert len(init.body) == 1, "__init__.py holds only its docstring"
    assert (feature / "tools.py").exists()
    tests = ROOT / "tests" / "tools"
    assert list(tests.glob(f"test_{feature.name}*.py")) or list(tests.glob(f"{feature.name}/*.py"))


def test_the_catalogue_holds_every_contract() -> None:
    recorded = (ROOT / "tests/catalogue.json").read_text()
    assert json.loads(catalogue(REGISTRY)) == json.loads(recorded), "run `make docs` and review"


def test_conventional_routes_do_not_collide() -> None:
    routes = [re.sub(r"{\w+}", "{}", tool.rest) for tool in REGISTRY if tool.rest]
    assert len(routes) == len(set(routes))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_source_file_stays_readable(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 500, "split it: a file of 300 lines is normal"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert lines <= 40, f"{node.name} has {lines} lines"
