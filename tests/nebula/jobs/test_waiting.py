"""A job whose tool needs a person in the middle: it waits, and goes on by itself."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from nebula.app import App
from nebula.auth.principal import Caller
from nebula.errors import Conflict
from nebula.jobs.job import Job, JobHandle, JobState
from nebula.jobs.moves import Run
from nebula.jobs.worker import open_worker
from nebula.policy.ask import Level
from nebula.tool.approval import STREAM
from nebula.tool.approvals import Answer, Approval
from tests.nebula.jobs import samples
from tests.nebula.jobs.conftest import Submit
from tests.nebula.jobs.pace import QUICK

TWO_STEPS = ["begin first of x", "end first of x", "begin second of x", "end second of x"]
THREE_STEPS = [*TWO_STEPS, "begin third of x", "end third of x"]


async def parked(app: App, handle: JobHandle, ada: Caller) -> tuple[Job, Approval]:
    """Wait until the job waits for a person; return it and the question."""
    async for event in app.parts.events.follow(f"job:{handle.job_id}"):
        if event.kind == "job.state" and event.data["waits_because"]:
            break
    job = await app.parts.jobs.get(handle.job_id, ada.principal)
    [asked] = await app.parts.approvals.list(ada.principal)
    return job, asked


async def decide(app: App, asked: Approval, ada: Caller, answer: Answer) -> None:
    await app.parts.approvals.decide(
        asked.id, decision=answer, by=ada.principal, surface=ada.surface
    )


async def test_it_waits_where_people_look_and_goes_on_once_approved(
    lab: App, worker: object, submit: Submit, ended: Any, ada: Caller
) -> None:
    handle = await submit("x", "sample_careful")
    job, asked = await parked(lab, handle, ada)
    assert (job.state, job.waits_for, job.worker) == (JobState.QUEUED, asked.id, None)
    assert "approve sample_wipe" in job.waits_because
    assert (asked.tool, asked.arguments) == ("sample_wipe", {"name": "third of x"})
    assert samples.DONE == TWO_STEPS
    await decide(lab, asked, ada, "approve")
    job = await ended(handle)
    assert (job.state, job.waits_for, job.waits_because) == (JobState.SUCCEEDED, None, "")
    assert samples.DONE == THREE_STEPS, "what had been done is told again, not done again"


async def test_the_answer_may_come_while_no_worker_is_there(
    lab: App, submit: Submit, ended: Any, ada: Caller
) -> None:
    handle = await submit("x", "sample_careful")
    async with open_worker(lab, 1, grace_seconds=0.1, pace=QUICK):
        _, asked = await parked(lab, handle, ada)
    await decide(lab, asked, ada, "approve")
    async with open_worker(lab, 1, grace_seconds=0.1, pace=QUICK):
        assert (await ended(handle)).state is JobState.SUCCEEDED
    assert samples.DONE == THREE_STEPS


@pytest.mark.parametrize(("answer", "code"), [("deny", "permission_denied")])
async def test_a_job_that_may_not_go_on_fails_and_says_who_said_so(
    lab: App, worker: object, submit: Submit, ended: Any, ada: Caller, answer: Answer, code: str
) -> None:
    handle = await submit("x", "sample_careful")
    _, asked = await parked(lab, handle, ada)
    await decide(lab, asked, ada, answer)
    job = await ended(handle)
    assert job.state is JobState.FAILED
    assert job.error is not None and job.error["code"] == code
    assert ada.principal.name in job.error["detail"]
    assert samples.DONE == TWO_STEPS


async def test_an_answer_that_never_comes_ends_the_job(
    lab: App, worker: object, submit: Submit, ended: Any, ada: Caller
) -> None:
    lab.parts.approvals._minutes[Level.DESTRUCTIVE] = 0.02
    job = await ended(await submit("x", "sample_careful"))
    assert job.state is JobState.FAILED
    assert job.error is not None and "expired" in job.error["detail"]


async def test_a_waiting_job_is_cancelled_at_once_and_its_question_is_withdrawn(
    lab: App, worker: object, submit: Submit, ended: Any, ada: Caller
) -> None:
    handle = await submit("x", "sample_careful")
    _, asked = await parked(lab, handle, ada)
    after = await lab.parts.events.last(STREAM)
    job = await lab.parts.jobs.cancel(handle.job_id, ada.principal)
    assert (job.state, job.waits_for) == (JobState.CANCELLED, None)
    assert await lab.parts.approvals.list(ada.principal) == []
    [told] = await lab.parts.events.read(STREAM, after)
    assert (told.kind, told.data["state"]) == ("approval.decided", "withdrawn")
    with pytest.raises(Conflict, match="no longer needed: The job was cancelled"):
        await decide(lab, asked, ada, "approve")
    await ended(await submit("y"))
    assert samples.DONE[:4] == TWO_STEPS and "begin third of x" not in samples.DONE


@pytest.mark.parametrize("first", ["approve", "cancel", "neither"])
async def test_an_answer_at_the_moment_of_a_cancel_runs_nothing(
    lab: App, submit: Submit, ended: Any, ada: Caller, first: str
) -> None:
    handle = await submit("x", "sample_careful")
    async with open_worker(lab, 1, grace_seconds=0.1, pace=QUICK):
        _, asked = await parked(lab, handle, ada)
    answering = decide(lab, asked, ada, "approve")
    cancelling = lab.parts.jobs.cancel(handle.job_id, ada.principal)
    if first == "approve":
        await answering
        await cancelling
    elif first == "cancel":
        await cancelling
        with pytest.raises(Conflict):
            await answering
    else:
        await asyncio.gather(answering, cancelling, return_exceptions=True)
    assert (await lab.parts.approvals.get(asked.id, ada.principal)).state == "withdrawn"
    async with open_worker(lab, 1, grace_seconds=0.1, pace=QUICK):
        await ended(await submit("y"))
    assert (await lab.parts.jobs.get(handle.job_id, ada.principal)).state is JobState.CANCELLED
    assert "begin third of x" not in samples.DONE


async def test_a_job_that_is_cancelled_just_as_it_parks_does_not_wait(
    lab: App, submit: Submit, ada: Caller
) -> None:
    handle = await submit("x", "sample_careful")
    running = text(
        "UPDATE jobs SET state = 'running', attempts = 1, cancel_requested = true WHERE id = :job"
    )
    async with lab.parts.db.session() as session:
        await session.execute(running, {"job": handle.job_id})
        run = Run(handle.job_id, 1)
        moves = lab.parts.jobs.moves
        job = await moves.again(session, run, because="It waits.", waits_for="apr_1")
    assert job is not None
    assert (job.state, job.waits_for) == (JobState.CANCELLED, None)
