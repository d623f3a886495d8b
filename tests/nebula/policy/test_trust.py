"""No sequence of runs, values, people, labels and hours makes a grant cover what it may not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nebula.auth.principal import Caller, Surface
from nebula.policy.ask import Ask, Decision, Level, Verdict
from nebula.policy.decide import covered
from nebula.policy.grants import Grant
from nebula.policy.labels import Label
from nebula.policy.trust import CONFIRMED_RUNS, Run, earned, trustable
from tests.nebula.tool.samples import ALL, sample_write
from tests.people import principal

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CLEAN = Run(approved=True, succeeded=True, tainted=False, rule="tool-asks", level=Level.NORMAL)
VALUES = st.sampled_from(["a", "A", "1", 1, 1.0, True, None, [1], [1.0], [True], {"k": 1}])
RULES = ["tool-asks", "operator", "outside-text", "destructive"]
OTHER = [
    Run(approved=approved, succeeded=succeeded, tainted=tainted, rule=rule, level=level)
    for approved, succeeded, tainted, rule, level in product(
        [True, False], [True, False], [True, False], RULES, Level
    )
]
RUNS = st.sampled_from([*[CLEAN] * 60, *OTHER])


@given(st.lists(RUNS, max_size=12))
def test_a_row_is_earned_by_five_clean_runs_with_nothing_bad_between(runs: list[Run]) -> None:
    bad = next((at for at, r in enumerate(runs) if not (r.approved and r.succeeded)), len(runs))
    clean = [
        run
        for run in runs[:bad]
        if not run.tainted and run.rule in {"tool-asks", "operator"} and run.level is Level.NORMAL
    ]
    assert earned(runs) is (len(clean) >= CONFIRMED_RUNS)


def typed(value: Any) -> Any:
    """Tell values apart as JSON does, written without the code under test."""
    if isinstance(value, list):
        return ("list", [typed(one) for one in value])
    if isinstance(value, dict):
        return ("dict", {name: typed(one) for name, one in value.items()})
    return (type(value).__name__, value)


@settings(max_examples=400)
@given(
    tool=st.sampled_from(ALL),
    granted=VALUES,
    given_value=VALUES,
    mine=st.booleans(),
    same_tool=st.booleans(),
    outside=st.booleans(),
    rule=st.sampled_from(["tool-asks", "operator", "outside-text", "destructive", "limit"]),
    level=st.sampled_from(Level),
    minutes=st.integers(-3, 3),
)
def test_a_grant_covers_one_value_of_one_tool_for_one_person_for_a_while_and_untouched(
    **case: Any,
) -> None:
    tool, who = case["tool"], principal("admin")
    name = tool.name if case["same_tool"] else "other_tool"
    owner = who.id if case["mine"] else "usr_other"
    grant = Grant("g", name, {"name": case["granted"]}, owner, NOW)
    labels = frozenset({Label.USER} | ({Label.OUTSIDE} if case["outside"] else set()))
    now = NOW + timedelta(minutes=case["minutes"])
    ask = Ask(
        tool,
        Caller(who, Surface.CHAT, labels=labels, by_model=True),
        {"name": case["given_value"]},
        grants=(grant,),
        now=now,
    )
    asked = Decision(Verdict.CONFIRM, case["rule"], "", level=case["level"])
    allowed = covered(ask, asked).verdict is Verdict.ALLOW
    assert allowed == (
        tool.effect == "write"
        and case["same_tool"]
        and case["mine"]
        and not case["outside"]
        and case["rule"] in {"tool-asks", "operator"}
        and case["level"] is Level.NORMAL
        and now < NOW
        and typed(case["granted"]) == typed(case["given_value"])
    )


def test_a_missing_selector_is_not_covered_by_nothing() -> None:
    grant = Grant("g", "sample_write", {"name": None}, "u", NOW)
    assert not grant.covers("sample_write", {}, "u", NOW - timedelta(1))
    assert grant.covers("sample_write", {"name": None}, "u", NOW - timedelta(1))


def test_jobs_secrets_and_weighty_tools_never_run_on_trust() -> None:
    assert trustable(sample_write, Level.NORMAL)
    assert not trustable(sample_write, Level.CRITICAL)
    assert not trustable(replace(sample_write, background=True), Level.NORMAL)
    assert not any(trustable(t, Level.DESTRUCTIVE) for t in ALL)
