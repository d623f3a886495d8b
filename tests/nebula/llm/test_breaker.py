"""The breaker opens on failure and closes on a probe, never by time alone."""

from nebula.llm.breaker import Breaker
from tests.nebula.llm.lab import Clock


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(threshold=3)
    breaker.fail()
    breaker.fail()
    breaker.succeed()
    breaker.fail()
    breaker.fail()
    assert breaker.closed
    breaker.fail()
    assert not breaker.closed


def test_time_makes_a_probe_due_but_closes_nothing() -> None:
    clock = Clock()
    breaker = Breaker(pause=2.0, clock=clock)
    breaker.trip()
    assert (breaker.closed, breaker.probe_due, breaker.probe_in) == (False, False, 2.0)
    clock.now += 2
    assert breaker.probe_due and not breaker.closed
    breaker.recover()
    assert breaker.closed


def test_pauses_double_up_to_the_limit_until_an_answer() -> None:
    clock = Clock()
    breaker = Breaker(pause=2.0, limit=5.0, clock=clock)
    pauses = []
    for _ in range(4):
        breaker.trip()
        pauses.append(breaker.probe_in)
    assert pauses == [2.0, 4.0, 5.0, 5.0]
    breaker.succeed()
    breaker.trip()
    assert breaker.probe_in == 2.0


def test_after_a_probe_a_single_failure_opens_it_again() -> None:
    breaker = Breaker(threshold=3)
    breaker.trip()
    breaker.recover()
    breaker.fail()
    assert not breaker.closed


def test_a_provider_may_name_the_pause() -> None:
    clock = Clock()
    breaker = Breaker(clock=clock)
    breaker.trip(30.0)
    assert breaker.probe_in == 30.0
