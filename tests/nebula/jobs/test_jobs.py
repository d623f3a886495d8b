"""Jobs from their call to their end, with a real worker over a real database."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from nebula.app import App
from nebula.auth.principal import Caller, Principal, Role, Surface
from nebula.db.engine import Database
from nebula.errors import ApprovalRequired, InternalError
from nebula.jobs.job import JobHandle, JobState
from nebula.jobs.worker import Worker, open_worker
from nebula.tool.audit.verify import verify
from tests.nebula.jobs import samples
from tests.nebula.jobs.conftest import Submit
from tests.nebula.jobs.pace import QUICK


async def test_a_background_tool_becomes_a_job_that_a_worker_runs(
    lab: App, worker: Worker, submit: Submit, ended: Any
) -> None:
    job = await ended(await submit("x"))
    assert (job.state, job.result, job.attempts) == (
        JobState.SUCCEEDED,
        {"name": "x", "artefacts": ["artefact of x"]},
        1,
    )
    assert job.artefacts == ("artefact of x",)
    assert samples.DONE == ["begin x", "end x"]


async def test_the_same_call_gives_the_same_handle_and_runs_once(
    lab: App, worker: Worker, submit: Submit, ended: Any, ada: Caller
) -> None:
    handles = [await submit("x", call_id="c") for _ in range(3)]
    assert len({handle.job_id for handle in handles}) == 1
    await ended(handles[0])
    assert (await submit("x", call_id="c")).job_id == handles[0].job_id
    assert samples.DONE == ["begin x", "end x"]
    assert len(await lab.parts.jobs.list(ada.principal)) == 1


async def test_a_person_decides_before_a_job_is_made_and_the_job_runs_once(
    lab: App, worker: Worker, submit: Submit, ended: Any, ada: Caller
) -> None:
    with pytest.raises(ApprovalRequired) as asked:
        await submit("x", "sample_destroy", call_id="c")
    assert await lab.parts.jobs.list(ada.principal) == []
    await lab.parts.approvals.decide(
        asked.value.approval_id, decision="approve", by=ada.principal, surface=ada.surface
    )
    calls = [submit("x", "sample_destroy", call_id="c") for _ in range(4)]
    told = await asyncio.gather(*calls, return_exceptions=True)
    handles = {one.job_id for one in told if isinstance(one, JobHandle)}
    assert len(handles) == 1, told
    [job] = await lab.parts.jobs.list(ada.principal)
    job = await lab.parts.jobs.wait(job.id, ada.principal, 10)
    assert job.state is JobState.SUCCEEDED
    assert samples.DONE == ["begin x", "end x"]


async def test_approval_call_job_and_queue_row_stand_or_fall_together(
    lab: App, submit: Submit, ada: Caller, database: Database
) -> None:
    with pytest.raises(ApprovalRequired) as asked:
        await submit("x", "sample_destroy", call_id="c")
    await lab.parts.approvals.decide(
        asked.value.approval_id, decision="approve", by=ada.principal, surface=ada.surface
    )
    async with database.session() as session:
        await session.execute(text("ALTER TABLE procrastinate.procrastinate_jobs RENAME TO gone"))
    with pytest.raises(InternalError):
        await submit("x", "sample_destroy", call_id="c")
    async with database.session() as session:
        await session.execute(text("ALTER TABLE procrastinate.gone RENAME TO procrastinate_jobs"))
    assert await lab.parts.jobs.list(ada.principal) == []
    approval = await lab.parts.approvals.get(asked.value.approval_id, ada.principal)
    assert approval.state == "approved"
    await submit("x", "sample_destroy", call_id="c")


async def test_submit_and_end_each_leave_an_audit_line(
    lab: App, worker: Worker, submit: Submit, ended: Any, tmp_path: Path
) -> None:
    handle = await submit("x")
    await ended(handle)
    end, begin = await lab.parts.audit.search()
    assert (begin.outcome, begin.detail["job_id"]) == ("submitted", handle.job_id)
    assert (end.outcome, end.detail["job_id"]) == ("ok", handle.job_id)
    assert (await verify(lab.parts.db, tmp_path / "no-anchors")).intact


async def test_progress_and_log_reach_the_record_and_whoever_follows(
    lab: App, worker: Worker, submit: Submit, ended: Any, ada: Caller
) -> None:
    handle = await submit("report")
    job = await ended(handle)
    assert (job.progress.fraction, job.progress.step, job.progress.steps) == (0.25, 1, 4)
    lines = await lab.parts.jobs.log(job.id, ada.principal)
    assert [(line.seq, line.text) for line in lines] == [(1, "first"), (2, "second")]
    assert [line.seq for line in await lab.parts.jobs.log(job.id, ada.principal, after=1)] == [2]
    told = await lab.parts.events.read(f"job:{job.id}")
    states = [event.data["state"] for event in told if event.kind == "job.state"]
    assert states == ["queued", "running", "succeeded"]
    assert {"job.progress", "job.log"} <= {event.kind for event in told}
    assert {event.owner for event in told} == {ada.principal.id}
    assert [event.seq for event in told] == list(range(1, len(told) + 1))


async def test_a_background_tool_inside_a_job_runs_inline(
    lab: App, worker: Worker, submit: Submit, ended: Any, ada: Caller
) -> None:
    job = await ended(await submit("x", "sample_outer"))
    assert job.state is JobState.SUCCEEDED
    assert samples.DONE == ["begin x", "end x", "outer saw Made"]
    assert len(await lab.parts.jobs.list(ada.principal)) == 1


@pytest.mark.parametrize(
    ("tool", "name", "state", "attempts", "code"),
    [
        ("sample_idempotent", "flaky", JobState.SUCCEEDED, 2, None),
        ("sample_keyed", "down", JobState.FAILED, 3, "upstream_unavailable"),
        ("sample_opaque", "down", JobState.FAILED, 1, "upstream_unavailable"),
        ("sample_idempotent", "wrong", JobState.FAILED, 1, "invalid_input"),
        ("sample_idempotent", "bug", JobState.FAILED, 1, "internal_error"),
        ("sample_brief", "hang", JobState.TIMED_OUT, 1, "timed_out"),
    ],
)
async def test_a_run_that_ends_badly_is_tried_again_where_that_is_safe(
    worker: Worker,
    submit: Submit,
    ended: Any,
    tool: str,
    name: str,
    state: JobState,
    attempts: int,
    code: str | None,
) -> None:
    job = await ended(await submit(name, tool))
    assert (job.state, job.attempts) == (state, attempts)
    assert (job.error or {}).get("code") == code
    assert "secret detail" not in job.model_dump_json()


async def test_a_waiting_job_is_cancelled_at_once_and_never_runs(
    lab: App, submit: Submit, ended: Any, ada: Caller
) -> None:
    handle = await submit("x")
    job = await lab.parts.jobs.cancel(handle.job_id, ada.principal)
    assert job.state is JobState.CANCELLED
    other = await submit("y")
    async with open_worker(lab, 1, pace=QUICK):
        await ended(other)
    assert samples.DONE == ["begin y", "end y"]


@pytest.mark.parametrize("tool", ["sample_idempotent", "sample_opaque"])
async def test_cancelling_reaches_the_running_tool(
    lab: App, worker: Worker, submit: Submit, ended: Any, ada: Caller, tool: str
) -> None:
    handle = await submit("hang", tool)
    await running(lab, handle, ada)
    began = time.monotonic()
    assert (await lab.parts.jobs.cancel(handle.job_id, ada.principal)).cancel_requested
    job = await ended(handle)
    assert time.monotonic() - began < 5, "within a second, on a machine that has nothing else to do"
    assert (job.state, samples.DONE[-1]) == (JobState.CANCELLED, "stopped hang")


async def test_a_tool_that_does_not_let_itself_be_cancelled_is_left_behind(
    lab: App, worker: Worker, submit: Submit, ended: Any, ada: Caller
) -> None:
    handle = await submit("stubborn")
    await running(lab, handle, ada)
    await lab.parts.jobs.cancel(handle.job_id, ada.principal)
    assert (await ended(handle)).state is JobState.CANCELLED
    samples.LET_GO.set()


async def test_a_user_who_was_removed_or_demoted_runs_nothing(
    lab: App, submit: Submit, developer: Principal, ada: Caller
) -> None:
    dev = Caller(developer, Surface.REST)
    handles = [
        await lab.executor.execute("sample_keyed", {"name": "x"}, caller=dev, call_id=f"{n}")
        for n in range(2)
    ]
    await lab.parts.auth.people.update(developer.id, role=Role.VIEWER)
    async with open_worker(lab, 1, pace=QUICK):
        for handle in handles:
            assert isinstance(handle, JobHandle)
            job = await lab.parts.jobs.wait(handle.job_id, ada.principal, 10)
            assert (job.state, (job.error or {})["code"]) == (JobState.FAILED, "permission_denied")
        await lab.parts.auth.people.update(developer.id, role=Role.DEVELOPER)
        last = await lab.executor.submit(
            "sample_plain", {"name": "hang"}, caller=dev, call_id="last"
        )
        await running(lab, last, ada)
        await lab.parts.jobs.cancel(last.job_id, ada.principal)
        gone = await lab.executor.execute("sample_keyed", {"name": "x"}, caller=dev, call_id="g")
        assert isinstance(gone, JobHandle)
        await lab.parts.auth.people.delete(developer.id)
        await lab.parts.jobs.wait(gone.job_id, ada.principal, 10)
    assert samples.DONE.count("begin x") <= 1


@pytest.mark.parametrize(
    ("tool", "state"),
    [
        ("sample_idempotent", JobState.QUEUED),
        ("sample_keyed", JobState.QUEUED),
        ("sample_opaque", JobState.UNKNOWN),
    ],
)
async def test_a_worker_that_stops_hands_back_what_may_be_repeated(
    lab: App, submit: Submit, ada: Caller, tool: str, state: JobState
) -> None:
    async with open_worker(lab, 1, grace_seconds=0.05, pace=QUICK):
        handle = await submit("hang", tool)
        await running(lab, handle, ada)
    job = await lab.parts.jobs.get(handle.job_id, ada.principal)
    assert job.state is state
    if state is JobState.QUEUED:
        assert job.max_attempts == 4, "a stop is not the job's fault"


async def test_a_run_that_ends_within_the_grace_is_not_broken_off(
    lab: App, submit: Submit, ada: Caller
) -> None:
    async with open_worker(lab, 1, grace_seconds=5, pace=QUICK):
        handle = await submit("nap", "sample_opaque")
        await running(lab, handle, ada)
    job = await lab.parts.jobs.get(handle.job_id, ada.principal)
    assert job.state is JobState.SUCCEEDED


async def test_no_more_jobs_run_at_once_than_allowed(lab: App, submit: Submit, ended: Any) -> None:
    handles = [await submit(f"nap {n}") for n in range(4)]
    async with open_worker(lab, 2, pace=QUICK):
        for handle in handles:
            await ended(handle)
    depth = most = 0
    for word in samples.DONE:
        depth += 1 if word.startswith("begin") else -1
        most = max(most, depth)
    assert most == 2


async def running(app: App, handle: JobHandle, who: Caller) -> None:
    """Wait until a job's tool was entered."""
    async for event in app.parts.events.follow(f"job:{handle.job_id}"):
        if event.data.get("state") == "running":
            break
    while not any(word.startswith("begin") for word in samples.DONE):
        await asyncio.sleep(0)
