"""The decision about a run that ended badly, alone."""

from datetime import UTC, datetime

import pytest

from nebula.errors import InvalidInput, NebulaError, OutcomeUnknown, TimedOut, UpstreamUnavailable
from nebula.jobs.job import Job, JobState
from nebula.jobs.moves import Ending
from nebula.jobs.outcome import Again, Broken, after_break, after_failure, after_loss
from nebula.jobs.run import Trace
from nebula.tool.definition import EffectKind

REPEATABLE = [EffectKind.IDEMPOTENT, EffectKind.KEYED, EffectKind.CHECK_THEN_ACT]
AWAY, LIMIT, WRONG, UNSURE = UpstreamUnavailable(), TimedOut(), InvalidInput(), OutcomeUnknown()


def job(attempts: int = 1, max_attempts: int = 3, **more: object) -> Job:
    fields = {"id": "j", "tool": "t", "arguments": {}, "state": "running", "owner_id": "o"}
    fields |= {
        "owner_name": "o",
        "surface": "rest",
        "call_id": "c",
        "created_at": datetime.now(UTC),
    }
    return Job.model_validate(fields | {"attempts": attempts, "max_attempts": max_attempts} | more)


def failed(
    kind: EffectKind,
    error: NebulaError,
    *,
    attempts: int = 1,
    started: bool = True,
    overran: bool = False,
    cut: bool = False,
) -> Ending | Again:
    trace = Trace(started=started, overran=overran, cut=cut)
    return after_failure(job(attempts), kind, error, trace, first_wait=1.0)


def state(next_: Ending | Again) -> JobState | None:
    return next_.state if isinstance(next_, Ending) else None


@pytest.mark.parametrize("kind", REPEATABLE)
def test_what_may_pass_is_tried_again_where_the_effect_may_be_repeated(kind: EffectKind) -> None:
    for error in (AWAY, LIMIT, UNSURE):
        assert isinstance(failed(kind, error), Again)
        assert isinstance(failed(kind, error, attempts=2), Again)
    assert state(failed(kind, AWAY, attempts=3)) is JobState.FAILED
    assert state(failed(kind, UNSURE, attempts=3)) is JobState.UNKNOWN
    assert state(failed(kind, WRONG)) is JobState.FAILED
    assert state(failed(kind, LIMIT, overran=True)) is JobState.TIMED_OUT


def test_an_opaque_effect_is_never_tried_again_by_itself() -> None:
    assert state(failed(EffectKind.OPAQUE, AWAY)) is JobState.FAILED
    assert state(failed(EffectKind.OPAQUE, UNSURE)) is JobState.UNKNOWN
    assert state(failed(EffectKind.OPAQUE, UNSURE, overran=True)) is JobState.TIMED_OUT
    assert state(failed(EffectKind.OPAQUE, AWAY, cut=True)) is JobState.UNKNOWN
    assert state(after_loss(job(), EffectKind.OPAQUE)) is JobState.UNKNOWN
    stopped = after_break(job(), EffectKind.OPAQUE, Broken.STOPPING, started=True)
    assert state(stopped) is JobState.UNKNOWN


@pytest.mark.parametrize("kind", list(EffectKind))
def test_before_the_tool_was_entered_anything_may_be_tried_again_for_free(
    kind: EffectKind,
) -> None:
    for error in (AWAY, UNSURE):
        next_ = failed(kind, error, attempts=3, started=False)
        assert isinstance(next_, Again)
        assert next_.more_attempts == 1
    assert state(failed(kind, WRONG, started=False)) is JobState.FAILED
    stopped = after_break(job(), kind, Broken.STOPPING, started=False)
    assert isinstance(stopped, Again)


@pytest.mark.parametrize("kind", REPEATABLE)
def test_a_lost_run_is_tried_again_until_it_was_lost_too_often(kind: EffectKind) -> None:
    assert isinstance(after_loss(job(1), kind), Again)
    assert state(after_loss(job(3), kind)) is JobState.LOST
    assert state(after_loss(job(1, cancel_requested=True), kind)) is JobState.CANCELLED


def test_waits_grow_and_stay_within_a_minute() -> None:
    waits = []
    for attempts in (1, 2, 5, 5000):
        next_ = failed(EffectKind.KEYED, AWAY, attempts=attempts, started=False)
        assert isinstance(next_, Again)
        waits.append(next_.delay_seconds)
    assert waits == sorted(waits)
    assert 1 <= waits[0] <= 2
    assert waits[-1] <= 60
