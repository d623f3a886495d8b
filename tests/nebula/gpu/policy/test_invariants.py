"""R1 in small: the state machine of the benchmark, and the bugs that it must find."""

import pytest
from hypothesis import seed

from benchmarks.r1 import BUGS, KINDS, check, machine
from benchmarks.r1_world import Violation
from nebula.gpu.policy.types import PriorityClass

LLAMA, SMALL, SDXL, SD, CAPTIONS, LORA, QLORA = KINDS


def test_the_policy_keeps_its_promises_in_random_homes(
    pytestconfig: pytest.Config,
) -> None:
    """Other homes are tried with --hypothesis-seed=N."""
    sound = machine()
    if (number := pytestconfig.getoption("--hypothesis-seed")) is not None:
        seed(int(number))(sound)
    check(sound, 50, 40)
    assert sound.steps > 1_200


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug])
def test_a_planted_bug_is_found(bug: str) -> None:
    with pytest.raises(Violation):
        check(machine(bug), 200)


def test_room_that_is_asked_for_comes_no_later_than_it_was_said() -> None:
    """Found in a random home: a yield was promised a second earlier than the next round said."""
    state = machine()()
    state.moves_in(sizes=[8], embedder=True, siege=None)
    state.asks(LORA, PriorityClass.TRAINING, 11.0, "b")
    state.goes_on(4.0)
    state.asks(LLAMA, PriorityClass.CHAT, 10.0, "a")
    state.goes_on(0.0)
    (asked,) = (lease for lease in state.world.open.values() if lease.yielding)
    assert asked.job == "j0001"
    state.teardown()


def test_nobody_yields_to_who_then_waits_for_a_loaded_model_elsewhere() -> None:
    state = machine()()
    state.moves_in(sizes=[8, 12], embedder=False, siege=None)
    state.asks(LLAMA, PriorityClass.CHAT, 10.0, "a")
    state.asks(QLORA, PriorityClass.TRAINING, 11.0, "b")
    state.goes_on(4.0)
    # It is served by the loaded model in 7 s, as soon as after the training has saved and a load.
    state.asks(LLAMA, PriorityClass.CHAT, 10.0, "a")
    state.goes_on(0.0)
    assert not any(lease.yielding for lease in state.world.open.values())
    state.teardown()


def test_what_leaves_for_somebody_behind_puts_off_nobody() -> None:
    state = machine()()
    state.moves_in(sizes=[12], embedder=True, siege=None)
    for kind in (CAPTIONS, SMALL, LLAMA):
        state.asks(kind, PriorityClass.IMAGE, 0.5, "a")
        state.goes_on(4.0)
    state.asks(LORA, PriorityClass.CHAT, 5.0, "a")
    state.goes_on(0.2)
    state.asks(SD, PriorityClass.TRAINING, 5.0, "b")
    state.goes_on(0.0)
    leaving = [r.since for r in state.world.residents.values() if r.state == "leaving"]
    assert len(set(leaving)) == 2
    state.teardown()
