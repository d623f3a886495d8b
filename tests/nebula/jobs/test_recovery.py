"""What a crash leaves behind, laid out row by row, and what becomes of it."""

from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from nebula.app import App
from nebula.auth.principal import Caller
from nebula.jobs.job import JobState
from nebula.jobs.recovery import recover
from nebula.jobs.worker import open_worker
from nebula.settings import Settings
from nebula.tool.envelope import arguments_sha256
from nebula.tool.ledger import CallKey
from tests.nebula.jobs import samples
from tests.nebula.jobs.conftest import Submit
from tests.nebula.jobs.pace import QUICK
from tests.nebula.jobs.test_moves import claim, end


async def healed(app: App) -> int:
    async with app.parts.db.session() as session:
        return await recover(app, session, QUICK)


async def run_sql(app: App, *statements: str) -> None:
    async with app.parts.db.session() as session:
        for statement in statements:
            await session.execute(text(statement))


@pytest.mark.parametrize(
    ("tool", "state"),
    [
        ("sample_idempotent", JobState.QUEUED),
        ("sample_keyed", JobState.QUEUED),
        ("sample_brief", JobState.QUEUED),
        ("sample_opaque", JobState.UNKNOWN),
    ],
)
async def test_a_job_of_a_dead_worker_goes_on_by_the_kind_of_its_effect(
    lab: App, submit: Submit, ada: Caller, tool: str, state: JobState
) -> None:
    handle = await submit("x", tool)
    run = await claim(lab, handle.job_id, "a worker without a heartbeat")
    assert await healed(lab) == 1
    job = await lab.parts.jobs.get(handle.job_id, ada.principal)
    assert job.state is state
    assert await end(lab, run) is None, "the dead worker comes back too late"
    told = await lab.parts.events.read(f"job:{job.id}")
    states = [event.data["state"] for event in told]
    assert states[2:] == (["lost", "queued"] if state is JobState.QUEUED else ["unknown"])


async def test_a_worker_with_a_young_heartbeat_keeps_its_jobs(lab: App, submit: Submit) -> None:
    await claim(lab, (await submit("x")).job_id, "w")
    await run_sql(lab, "INSERT INTO job_workers (id) VALUES ('w')")
    assert await healed(lab) == 0
    await run_sql(lab, "UPDATE job_workers SET heartbeat_at = now() - interval '1 minute'")
    assert await healed(lab) == 1


async def test_a_worker_that_only_got_no_time_keeps_its_jobs_for_longer(
    lab: App, submit: Submit, settings: Settings
) -> None:
    await claim(lab, (await submit("x")).job_id, "host-1-abcdefgh")
    old = "now() - make_interval(secs => {})"
    await run_sql(
        lab,
        f"INSERT INTO job_workers VALUES ('host-1-abcdefgh', now(), {old.format(2.5)})",
    )
    async with await psycopg.AsyncConnection.connect(
        settings.database_url, application_name="nebula-worker-abcdefgh"
    ):
        assert await healed(lab) == 0, "its connection is there"
        await run_sql(lab, f"UPDATE job_workers SET heartbeat_at = {old.format(60)}")
        assert await healed(lab) == 1, "but not for ever"


async def test_a_job_that_kills_its_worker_each_time_is_given_up(
    lab: App, submit: Submit, ada: Caller
) -> None:
    handle = await submit("x")
    for _ in range(3):
        await claim(lab, handle.job_id, "dead")
        await healed(lab)
    job = await lab.parts.jobs.get(handle.job_id, ada.principal)
    assert (job.state, job.attempts) == (JobState.LOST, 3)
    [line, *_] = await lab.parts.audit.search()
    assert line.outcome == "lost"


async def test_a_job_cancelled_while_its_worker_died_is_cancelled(
    lab: App, submit: Submit, ada: Caller
) -> None:
    handle = await submit("x")
    await claim(lab, handle.job_id, "dead")
    await lab.parts.jobs.cancel(handle.job_id, ada.principal)
    await healed(lab)
    job = await lab.parts.jobs.get(handle.job_id, ada.principal)
    assert job.state is JobState.CANCELLED


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM procrastinate.procrastinate_jobs",
        "UPDATE procrastinate.procrastinate_jobs SET status = 'doing', worker_id = NULL",
        "UPDATE procrastinate.procrastinate_jobs SET status = 'failed'",
        "UPDATE jobs SET queue_id = NULL",
    ],
)
async def test_a_job_whose_row_in_the_queue_is_gone_gets_another(
    lab: App, submit: Submit, ended: Any, damage: str
) -> None:
    handle = await submit("x")
    await run_sql(lab, damage, "UPDATE jobs SET queued_at = now() - interval '1 minute'")
    assert await healed(lab) == 1
    assert await healed(lab) == 0
    async with open_worker(lab, 2, pace=QUICK):
        assert (await ended(handle)).state is JobState.SUCCEEDED
    assert samples.DONE == ["begin x", "end x"]
    async with lab.parts.db.session() as session:
        left = await session.scalar(text("SELECT count(*) FROM procrastinate.procrastinate_jobs"))
    assert left == 0


async def test_a_row_held_by_a_living_worker_counts_as_there(lab: App, submit: Submit) -> None:
    await submit("x")
    await run_sql(
        lab,
        "INSERT INTO procrastinate.procrastinate_workers DEFAULT VALUES",
        "UPDATE procrastinate.procrastinate_jobs SET status = 'doing', "
        "worker_id = (SELECT id FROM procrastinate.procrastinate_workers)",
        "UPDATE jobs SET queued_at = now() - interval '1 minute'",
    )
    assert await healed(lab) == 0


async def test_a_run_this_worker_knows_nothing_of_is_found_by_its_heartbeat(
    lab: App, submit: Submit, ended: Any
) -> None:
    handle = await submit("x")
    async with open_worker(lab, 1, pace=QUICK) as worker:
        async with lab.parts.db.session() as session:
            await session.execute(
                text("UPDATE jobs SET state = 'running', worker = :id, queue_id = NULL"),
                {"id": worker.id},
            )
        await ended(handle)
    assert samples.DONE.count("end x") == 1


async def test_a_call_inside_a_lost_run_may_begin_again_at_once(
    lab: App, submit: Submit, ended: Any, ada: Caller
) -> None:
    handle = await submit("x", "sample_outer", call_id="c")
    await claim(lab, handle.job_id, "dead")
    tool = lab.executor.registry.get("sample_keyed")
    sha256 = arguments_sha256(tool.input_model(name="x"), "c/1")
    key = CallKey(principal_id=ada.principal.id, call_id="c/1", arguments_sha256=sha256)
    async with lab.parts.db.session() as session:
        assert await lab.executor._ledger.begin(session, tool, key, None)
    await healed(lab)
    async with open_worker(lab, 1, pace=QUICK):
        job = await ended(handle)
    assert job.state is JobState.SUCCEEDED, job.error


async def test_only_one_process_looks_at_a_time(lab: App, submit: Submit) -> None:
    await claim(lab, (await submit("x")).job_id, "dead")
    async with lab.parts.db.session() as session:
        assert await recover(lab, session, QUICK) == 1
        assert await healed(lab) == 0
