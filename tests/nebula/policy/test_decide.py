"""The policy's matrix, and each rule of it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from nebula.auth.principal import Surface
from nebula.policy.ask import Ask, Decision, Level, Used, Verdict
from nebula.policy.decide import covered, decide, standing
from nebula.policy.grants import Grant
from nebula.policy.labels import Label
from nebula.policy.plan import Plan, Step
from nebula.policy.rules import Rules
from nebula.policy.selectors import Origin
from nebula.tool.definition import AnyTool
from nebula.tool.registry import Registry
from tests.nebula.tool.samples import sample_destroy, sample_look, sample_person, sample_write
from tests.people import PERMISSIONS, caller

A, C, P, B = Verdict.ALLOW, Verdict.CONFIRM, Verdict.PROPOSE, Verdict.BLOCK
CLEAN = frozenset({Label.USER})
TAINTED = frozenset({Label.USER, Label.OUTSIDE})
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
TOOLS = [*Registry.discover("tools", "graphs")]


def decided(
    tool: AnyTool, role: str = "admin", rules: Rules | None = None, **more: Any
) -> Decision:
    facts = {name: more.pop(name) for name in list(more) if name in Ask.__dataclass_fields__}
    return decide(Ask(tool, caller(role, **more), **{"now": NOON, **facts}), rules or Rules())


def said(**rules: Any) -> Rules:
    return Rules.model_validate(rules)


@pytest.mark.parametrize(
    ("tool", "role", "surface", "labels", "by_model", "verdict"),
    [
        (sample_look, "viewer", Surface.REST, CLEAN, False, A),
        (sample_look, "viewer", Surface.REST, TAINTED, True, A),
        (sample_look, "client", Surface.CHAT, CLEAN, False, B),
        (sample_write, "viewer", Surface.CHAT, CLEAN, False, B),
        (sample_write, "developer", Surface.CHAT, CLEAN, True, A),
        (sample_write, "admin", Surface.CHAT, TAINTED, True, C),
        (sample_write, "admin", Surface.CHAT, TAINTED, False, A),
        (sample_write, "admin", Surface.MCP, TAINTED, False, C),
        (sample_write, "admin", Surface.SCHEDULE, TAINTED, False, P),
        (sample_destroy, "admin", Surface.TERMINAL, CLEAN, False, C),
        (sample_destroy, "admin", Surface.MCP, CLEAN, False, C),
        (sample_destroy, "admin", Surface.SCHEDULE, CLEAN, False, P),
        (sample_destroy, "viewer", Surface.TERMINAL, CLEAN, False, B),
        (sample_person, "admin", Surface.TERMINAL, CLEAN, False, A),
        (sample_person, "admin", Surface.CHAT, CLEAN, True, B),
        (sample_person, "admin", Surface.MCP, CLEAN, False, B),
        (sample_person, "admin", Surface.SCHEDULE, CLEAN, False, B),
    ],
)
def test_the_policy_says(  # type: ignore[no-untyped-def]
    tool, role, surface, labels, by_model, verdict
) -> None:
    found = decided(tool, role, surface=surface, labels=labels, by_model=by_model)
    assert found.verdict is verdict, found


_OTHERS = ("users:write", "users:admin", "secrets:", "audit:")
CLOSED = {
    "mcp": _OTHERS,
    "discord": _OTHERS,
    "schedule": ("users:write", "users:admin", "secrets:write", "secrets:admin"),
}
"""What nobody does through a door, by the beginning of its permission."""


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
@pytest.mark.parametrize("role", PERMISSIONS)
def test_every_tool_follows_the_plain_table(tool: AnyTool, role: str) -> None:
    """The table again, in other words than the rules: rights, person, effect, outside text."""
    for surface in Surface:
        for labels in (CLEAN, TAINTED):
            for by_model in (True, False):
                ask = Ask(tool, caller(role, surface=surface, labels=labels, by_model=by_model))
                typed = not by_model and surface.value in {"chat", "rest", "terminal", "discord"}
                waits = P if surface is Surface.SCHEDULE else C
                closed = tool.permission.startswith(CLOSED.get(surface.value, ()))
                if (
                    closed
                    or not ask.caller.principal.can(tool.permission)
                    or (tool.audience.value == "human" and not typed)
                ):
                    wanted = B
                elif tool.effect.value == "read":
                    wanted = A
                elif tool.effect.value == "destructive" or tool.confirm:
                    wanted = waits
                else:
                    wanted = waits if labels is TAINTED and not typed else A
                assert standing(ask, Rules()).verdict is wanted, (surface, labels, by_model)


@pytest.mark.parametrize("surface", list(Surface))
def test_the_same_call_gets_the_same_answer_on_every_door_with_a_person(surface: Surface) -> None:
    assert decided(sample_destroy, surface=surface).verdict is (
        P if surface is Surface.SCHEDULE else C
    )


def test_what_no_rule_speaks_for_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nebula.policy.decide._STANDING", ())
    assert standing(Ask(sample_look, caller()), Rules()) == Decision(
        B, "undeclared", "No rule speaks for it."
    )


PLAN = Plan((Step("sample_write", {"name": "lamp"}, "turn:0"),))


@pytest.mark.parametrize(
    ("plan", "origins", "name", "verdict"),
    [
        (PLAN, {"name": Origin.WORDS}, "lamp", A),
        (PLAN, {"name": Origin.REGISTRY}, "lamp", A),
        (PLAN, {"name": Origin.UNKNOWN}, "lamp", C),
        (PLAN, {}, "lamp", C),
        (PLAN, {"name": Origin.WORDS}, "door", C),
        (Plan(), {"name": Origin.WORDS}, "lamp", C),
        (
            Plan((Step("sample_destroy", {"name": "lamp"}, "turn:0"),)),
            {"name": Origin.WORDS},
            "lamp",
            C,
        ),
    ],
)
def test_after_outside_text_only_a_planned_step_with_known_values_runs_unasked(
    plan: Plan, origins: Mapping[str, Origin], name: str, verdict: Verdict
) -> None:
    found = decided(
        sample_write,
        by_model=True,
        labels=TAINTED,
        plan=plan,
        origins=origins,
        arguments={"name": name},
    )
    assert found.verdict is verdict, found


def test_a_step_that_has_run_is_used_up() -> None:
    plan = Plan((Step("sample_write", {"name": "lamp"}, "turn:0"),))
    more = {
        "by_model": True,
        "labels": TAINTED,
        "plan": plan,
        "origins": {"name": Origin.WORDS},
        "arguments": {"name": "lamp"},
    }
    found = decided(sample_write, **more)
    assert (found.verdict, found.uses.step, found.uses.needed) == (A, "turn:0", True)
    assert decided(sample_write, **more, spent=frozenset({"turn:0"})).verdict is C


def test_a_step_that_runs_before_anything_was_read_is_used_up_too() -> None:
    found = decided(
        sample_write,
        by_model=True,
        plan=Plan((Step("sample_write", {"name": "lamp"}, "turn:0"),)),
        origins={"name": Origin.WORDS},
        arguments={"name": "lamp"},
    )
    assert (found.verdict, found.uses.step, found.uses.needed) == (A, "turn:0", False)


def test_a_value_that_a_person_endorsed_may_be_used_by_the_tool_it_was_endorsed_for() -> None:
    more = {"by_model": True, "labels": TAINTED, "arguments": {"name": "lamp"}}
    found = decided(
        sample_write,
        **more,
        origins={"name": Origin.ENDORSED},
        endorsements={"name": "end_1"},
    )
    assert (found.verdict, found.uses.endorsements) == (A, ("end_1",))
    assert decided(sample_destroy, **more, origins={"name": Origin.ENDORSED}).verdict is C


def test_an_open_value_of_a_step_is_closed_by_a_person_only() -> None:
    plan = Plan((Step("sample_write", {}, "turn:0"),))
    verdicts = {
        origin: decided(
            sample_write,
            by_model=True,
            labels=TAINTED,
            plan=plan,
            origins={"name": origin},
            arguments={"name": "lamp"},
        ).verdict
        for origin in Origin
    }
    assert {origin for origin, verdict in verdicts.items() if verdict is A} == {
        Origin.DEFAULT,
        Origin.ENDORSED,
    }


def test_the_operator_makes_it_stricter_and_never_milder() -> None:
    rules = said(tools={"sample_*": "allow", "sample_write": "confirm"})
    assert decided(sample_write, rules=rules).verdict is C
    assert decided(sample_destroy, rules=rules).verdict is C
    assert decided(sample_look, rules=said(tools={"*": "block", "sample_look": "allow"})).rule == (
        "operator"
    )


def test_a_door_may_be_narrowed() -> None:
    rules = said(surfaces={"mcp": {"effects": ["read"]}, "discord": {"features": ["gpu"]}})
    assert decided(sample_write, rules=rules, surface=Surface.MCP).rule == "surface"
    assert decided(sample_look, rules=rules, surface=Surface.MCP).verdict is A
    assert decided(sample_look, rules=rules, surface=Surface.DISCORD).verdict is B
    assert decided(sample_write, rules=rules, surface=Surface.CHAT).verdict is A


@pytest.mark.parametrize(
    ("hour", "minute", "rule"),
    [
        (20, 59, "write"),
        (21, 0, "quiet-hours"),
        (2, 0, "quiet-hours"),
        (5, 59, "quiet-hours"),
        (6, 0, "write"),
    ],
)
def test_quiet_hours_follow_the_clock_of_their_place(hour: int, minute: int, rule: str) -> None:
    rules = said(quiet_hours=[{"from": "22:00", "to": "07:00", "zone": "Europe/Berlin"}])
    now = datetime(2026, 11, 30, hour, minute, tzinfo=UTC)
    assert decided(sample_write, rules=rules, now=now).rule == rule
    assert decided(sample_look, rules=rules, now=now).verdict is A


def test_a_used_up_day_refuses() -> None:
    rules = said(limits=[{"name": "few", "tools": ["sample_*"], "per_day": 2}])
    assert decided(sample_write, rules=rules, used=Used({"few": 1})).verdict is A
    found = decided(sample_write, rules=rules, used=Used({"few": 2}))
    assert (found.verdict, found.rule) == (B, "limit")


def test_money_is_counted_with_what_this_call_costs() -> None:
    rules = said(limits=[{"name": "purse", "tools": ["sample_*"], "money_per_day": "10"}])
    used = Used({}, {"purse": Decimal("7.50")})
    assert decided(sample_write, rules=rules, used=used, cost=Decimal("2.50")).verdict is A
    assert decided(sample_write, rules=rules, used=used, cost=Decimal("2.51")).verdict is B


def test_a_pause_stops_effects_and_lets_people_look() -> None:
    assert decided(sample_write, paused="the cat is at the keyboard").rule == "paused"
    assert decided(sample_destroy, paused="x").verdict is B
    assert decided(sample_look, paused="x").verdict is A
    assert decided(replace(sample_write, while_paused=True), paused="x").verdict is A


def test_a_decision_weighs_as_much_as_the_tool_or_the_operator_says() -> None:
    assert decided(sample_write).level is Level.NORMAL
    assert decided(sample_destroy).level is Level.DESTRUCTIVE
    assert decided(sample_write, rules=said(critical=["sample_w*"])).level is Level.CRITICAL
    assert decided(replace(sample_destroy, critical=True)).level is Level.CRITICAL


GRANT = Grant("g1", "sample_write", {"name": "lamp"}, "usr_admin", NOON.replace(hour=13))


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, A),
        ({"labels": TAINTED, "by_model": True}, C),
        ({"arguments": {"name": "door"}}, C),
        ({"role": "developer"}, C),
        ({"now": NOON.replace(hour=13)}, C),
        ({"tool": sample_destroy}, C),
        ({"rules": said(critical=["sample_write"], tools={"sample_write": "confirm"})}, C),
    ],
)
def test_a_standing_grant_answers_for_exactly_what_was_granted(
    changed: dict[str, Any], verdict: Verdict
) -> None:
    facts: dict[str, Any] = {
        "tool": replace(sample_write, confirm=True),
        "role": "admin",
        "rules": Rules(),
        "labels": CLEAN,
        "by_model": False,
        "arguments": {"name": "lamp"},
        "now": NOON,
    } | changed
    ask = Ask(
        facts["tool"],
        caller(facts["role"], labels=facts["labels"], by_model=facts["by_model"]),
        facts["arguments"],
        grants=(GRANT, replace(GRANT, tool="sample_destroy")),
        now=facts["now"],
    )
    found = covered(ask, decide(ask, facts["rules"]))
    assert found.verdict is verdict, found
    assert (found.grant_id == "g1") is (verdict is A)
