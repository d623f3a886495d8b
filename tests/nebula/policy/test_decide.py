"""The policy's matrix: every effect, role, door and label."""

import pytest

from nebula.auth.principal import Surface
from nebula.policy.decide import Verdict, decide
from nebula.policy.labels import Label
from tests.nebula.tool.samples import sample_destroy, sample_look, sample_person, sample_write
from tests.people import caller

A, C, P, B = Verdict.ALLOW, Verdict.CONFIRM, Verdict.PROPOSE, Verdict.BLOCK
CLEAN = frozenset({Label.USER})
TAINTED = frozenset({Label.USER, Label.OUTSIDE})


@pytest.mark.parametrize(
    ("tool", "role", "surface", "labels", "verdict"),
    [
        (sample_look, "viewer", Surface.REST, CLEAN, A),
        (sample_look, "viewer", Surface.REST, TAINTED, A),
        (sample_look, "client", Surface.CHAT, CLEAN, B),
        (sample_write, "viewer", Surface.CHAT, CLEAN, B),
        (sample_write, "developer", Surface.CHAT, CLEAN, A),
        (sample_write, "admin", Surface.CHAT, TAINTED, C),
        (sample_write, "admin", Surface.SCHEDULE, TAINTED, P),
        (sample_destroy, "admin", Surface.TERMINAL, CLEAN, C),
        (sample_destroy, "admin", Surface.MCP, CLEAN, C),
        (sample_destroy, "admin", Surface.SCHEDULE, CLEAN, P),
        (sample_destroy, "viewer", Surface.TERMINAL, CLEAN, B),
        (sample_person, "admin", Surface.TERMINAL, CLEAN, A),
        (sample_person, "admin", Surface.MCP, CLEAN, B),
    ],
)
def test_the_policy_says(tool, role, surface, labels, verdict) -> None:  # type: ignore[no-untyped-def]
    assert decide(tool, caller(role, surface=surface, labels=labels)).verdict is verdict


def test_a_model_is_never_offered_what_only_a_person_may_do() -> None:
    assert decide(sample_person, caller("admin", by_model=True)).verdict is B


@pytest.mark.parametrize("surface", list(Surface))
def test_the_same_call_gets_the_same_answer_on_every_door_with_a_person(surface: Surface) -> None:
    verdict = decide(sample_destroy, caller("admin", surface=surface)).verdict
    assert verdict is (P if surface is Surface.SCHEDULE else C)
