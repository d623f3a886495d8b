"""R1 in small: the state machine of the benchmark, and the bugs that it must find."""

import pytest

from benchmarks.r1 import BUGS, check, machine
from benchmarks.r1_world import Violation


def test_the_policy_keeps_its_promises_in_random_homes() -> None:
    sound = machine()
    check(sound, 80, 40)
    assert sound.steps > 2_000


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug])
def test_a_planted_bug_is_found(bug: str) -> None:
    with pytest.raises(Violation):
        check(machine(bug), 200)
