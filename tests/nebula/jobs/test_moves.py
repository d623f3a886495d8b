"""The states of a job in SQL: forward only, one run counts, one end stands."""

import asyncio

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from nebula.app import App
from nebula.auth.principal import Caller
from nebula.errors import Conflict, NebulaError
from nebula.jobs.job import Job, JobState
from nebula.jobs.models import JobRow
from nebula.jobs.moves import Ending, Run
from tests.nebula.jobs.conftest import Submit

ENDINGS = [state for state in JobState if state.ended]


async def claim(app: App, job_id: str, worker: str = "w") -> Run:
    """Begin a job's next attempt as a worker does."""
    async with app.parts.db.session() as session:
        queue_id = await session.scalar(select(JobRow.queue_id).where(JobRow.id == job_id))
        assert queue_id is not None
        claimed = await app.parts.jobs.moves.claim(session, job_id, queue_id, worker)
    assert claimed is not None
    return Run(job_id, claimed.job.attempts)


async def end(app: App, run: Run, state: JobState = JobState.SUCCEEDED) -> Job | None:
    async with app.parts.db.session() as session:
        return await app.parts.jobs.moves.end(session, run, Ending(state))


async def again(app: App, run: Run) -> Job | None:
    async with app.parts.db.session() as session:
        return await app.parts.jobs.moves.again(session, run, because="Because.")


async def state_of(app: App, job_id: str) -> str:
    async with app.parts.db.session() as session:
        state = await session.scalar(select(JobRow.state).where(JobRow.id == job_id))
    return str(state)


@pytest.mark.parametrize("first", ENDINGS)
async def test_the_first_end_of_a_job_stands(lab: App, submit: Submit, first: JobState) -> None:
    handle = await submit("x")
    run = await claim(lab, handle.job_id)
    assert await end(lab, run, first) is not None
    for later in ENDINGS:
        assert await end(lab, run, later) is None
    assert await again(lab, run) is None
    assert await state_of(lab, handle.job_id) == first.value


@pytest.mark.parametrize("state", ENDINGS)
async def test_the_database_refuses_to_move_an_ended_job(
    lab: App, submit: Submit, state: JobState
) -> None:
    run = await claim(lab, (await submit("x")).job_id)
    await end(lab, run, state)
    for change in ("state = 'queued'", "state = 'running'", "attempts = 0"):
        with pytest.raises(DBAPIError, match=r"has ended as|only grow"):
            async with lab.parts.db.session() as session:
                await session.execute(text(f"UPDATE jobs SET {change}"))


async def test_an_earlier_attempt_says_nothing_any_more(lab: App, submit: Submit) -> None:
    job_id = (await submit("x")).job_id
    old = await claim(lab, job_id)
    assert await again(lab, old) is not None
    new = await claim(lab, job_id)
    assert new.attempt == old.attempt + 1
    assert await end(lab, old) is None
    assert await again(lab, old) is None
    assert await state_of(lab, job_id) == "running"
    assert await end(lab, new) is not None


async def test_only_the_jobs_newest_row_in_the_queue_may_start_it(lab: App, submit: Submit) -> None:
    job_id = (await submit("x")).job_id
    moves = lab.parts.jobs.moves
    async with lab.parts.db.session() as session:
        old = await session.scalar(select(JobRow.queue_id))
        await lab.parts.jobs.ready(session, job_id)
        assert old is not None
        assert await moves.claim(session, job_id, old, "w") is None
    await claim(lab, job_id)


async def test_of_many_claims_at_once_one_is_granted(lab: App, submit: Submit) -> None:
    job_id = (await submit("x")).job_id

    async def one(worker: str) -> bool:
        async with lab.parts.db.session() as session:
            return await lab.parts.jobs.moves.claim(session, job_id, 1, worker) is not None

    granted = await asyncio.gather(*(one(f"w{n}") for n in range(8)))
    assert granted.count(True) == 1


async def test_a_claim_that_was_cut_off_is_found_by_its_worker_only(
    lab: App, submit: Submit
) -> None:
    job_id = (await submit("x")).job_id
    moves = lab.parts.jobs.moves
    await claim(lab, job_id, "w")
    async with lab.parts.db.session() as session:
        assert await moves.claimed(session, job_id, 1, "w") is not None
        assert await moves.claimed(session, job_id, 1, "other") is None
        assert await moves.claimed(session, job_id, 2, "w") is None


async def test_finishing_and_cancelling_at_once_leave_one_end(
    lab: App, submit: Submit, ada: Caller
) -> None:
    for n in range(10):
        job_id = (await submit("x", call_id=f"{n}")).job_id
        run = await claim(lab, job_id)
        finished, cancelled = await asyncio.gather(
            end(lab, run), lab.parts.jobs.cancel(job_id, ada.principal), return_exceptions=True
        )
        assert isinstance(finished, Job)
        assert isinstance(cancelled, Job | Conflict)
        assert await state_of(lab, job_id) == "succeeded"


async def test_claiming_and_cancelling_at_once_never_lose_the_wish(
    lab: App, submit: Submit, ada: Caller
) -> None:
    for n in range(10):
        job_id = (await submit("x", call_id=f"{n}")).job_id
        claimed, cancelled = await asyncio.gather(
            claim(lab, job_id), lab.parts.jobs.cancel(job_id, ada.principal), return_exceptions=True
        )
        assert isinstance(cancelled, Job | NebulaError), cancelled
        job = await lab.parts.jobs.get(job_id, ada.principal)
        if isinstance(claimed, Run):
            assert (job.state, job.cancel_requested) == (JobState.RUNNING, True)
        else:
            assert job.state is JobState.CANCELLED
