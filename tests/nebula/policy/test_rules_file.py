"""The operator's file: every mistake is named, and a mistake changes nothing."""

import os
from pathlib import Path

import pytest

from nebula.policy.rules import Rules
from nebula.policy.rules_file import RulesFile, load_rules
from nebula.yaml_file import BadFile

TOOLS = ("gpu_switch", "gpu_status", "notify_send")
FEATURES = ("gpu", "notify")

GOOD = """
version: 1
tools:
  gpu_*: confirm
surfaces:
  mcp: {effects: [read]}
quiet_hours:
  - {from: "22:00", to: "07:00", zone: Europe/Berlin, then: block}
limits:
  - {name: messages, tools: [notify_send], per_day: 50, money_per_day: 2.5}
critical: [notify_send]
"""


def load(path: Path, text: str) -> Rules:
    path.write_text(text)
    return load_rules(path, TOOLS, FEATURES)


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    rules = load(tmp_path / "policy.yml", GOOD)
    assert rules.tools == {"gpu_*": "confirm"}
    assert str(rules.limits[0].money_per_day) == "2.5"
    assert rules.quiet_hours[0].then == "block"


def test_without_a_file_the_built_in_rules_hold(tmp_path: Path) -> None:
    assert load_rules(tmp_path / "none.yml", TOOLS, FEATURES) == Rules()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "tools: {gpu_swich: block}",
            "line 1: 'gpu_swich' names no tool; did you mean 'gpu_switch'?",
        ),
        ("version: 1\ntools:\n  gpu_switch: blok", "line 3: tools.gpu_switch"),
        ("quiet_hours: [{from: '22:00', to: '07:00', zone: Mars/Crater}]", "is no time zone"),
        ("surface: {}", "unknown key 'surface'; did you mean 'surfaces'?"),
        ("surfaces: {phone: {}}", "line 1: surfaces.phone"),
        ("surfaces: {mcp: {features: [gpus]}}", "there is no feature 'gpus'; did you mean 'gpu'?"),
        ("surfaces: {mcp: {effects: [reed]}}", "surfaces.mcp.effects.0"),
        ("limits: [{name: few, tools: [gpu_switch]}]", "say per_day, money_per_day or both"),
        ("limits: [{name: few, tools: [x_y], per_day: 1}]", "'x_y' names no tool"),
        ("critical: [nothing]", "'nothing' names no tool"),
        ("tools: {gpu_switch: allow, gpu_switch: block}", "the key 'gpu_switch' stands twice"),
        ("version: 2", "version"),
    ],
)
def test_a_misspelt_declaration_is_refused_with_its_line(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(BadFile) as caught:
        load(tmp_path / "policy.yml", text)
    assert problem in str(caught.value)


def in_force(file: RulesFile, stamp: int, path: Path) -> Rules:
    os.utime(path, ns=(stamp, stamp))
    file._looked_at = 0.0
    return file.rules


def test_a_change_is_taken_and_a_mistake_is_not(tmp_path: Path) -> None:
    path = tmp_path / "policy.yml"
    path.write_text("tools: {gpu_switch: confirm}")
    file = RulesFile(path, TOOLS, FEATURES)
    first = file.version
    path.write_text("tools: {gpu_switch: block}")
    assert in_force(file, 10**18, path).tools == {"gpu_switch": "block"}
    assert file.version != first
    path.write_text("tools: {gpu_switch: perhaps}")
    assert in_force(file, 2 * 10**18, path).tools == {"gpu_switch": "block"}
    assert "line 1" in str(file.problems[0])
    path.unlink()
    file._looked_at = 0.0
    assert file.rules.tools == {"gpu_switch": "block"}, "a file that vanished frees nothing"
    assert "gone" in str(file.problems[0])
