"""Jobs under what really happens: killed workers, killed backends, a database that restarts."""

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from nebula.app import App, open_app
from nebula.auth.principal import Caller, Role, Surface
from nebula.db.embedded import EmbeddedPostgres
from nebula.db.engine import Database
from nebula.jobs.job import Job, JobHandle, JobState
from nebula.jobs.worker import open_worker
from nebula.settings import Settings
from nebula.tool.registry import Registry
from tests.nebula.jobs import samples
from tests.nebula.jobs.conftest import Submit
from tests.nebula.jobs.pace import QUICK
from tests.nebula.jobs.process import worker_process


async def written(log: Path, what: str) -> None:
    """Wait until a worker process has written a line."""
    while not log.exists() or what not in log.read_text():
        await asyncio.sleep(0.02)


def begun(log: Path, what: str) -> int:
    return log.read_text().count(what)


@pytest.mark.parametrize(
    ("tool", "state", "begins"),
    [
        ("sample_idempotent", JobState.SUCCEEDED, 2),
        ("sample_keyed", JobState.SUCCEEDED, 2),
        ("sample_opaque", JobState.UNKNOWN, 1),
    ],
)
async def test_a_worker_killed_in_the_middle_loses_nothing_and_repeats_only_what_may_be(
    lab: App,
    submit: Submit,
    ended: Any,
    settings: Settings,
    tmp_path: Path,
    tool: str,
    state: JobState,
    begins: int,
) -> None:
    log = tmp_path / "log"
    with worker_process(settings, log) as first:
        handle = await submit("once hang", tool, call_id="key")
        await written(log, "begin")
        first.kill()
        first.wait()
        async with open_worker(lab, 1, pace=QUICK):
            job: Job = await ended(handle)
    runs = begun(log, "begin") + samples.DONE.count("begin once hang")
    assert (job.state, runs) == (state, begins)
    assert {"key"} >= samples.KEYS, "each run names the same key to the other side"


async def test_a_frozen_worker_that_wakes_up_changes_nothing(
    lab: App, submit: Submit, ended: Any, settings: Settings, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with worker_process(settings, log) as first:
        handle = await submit("once hang")
        await written(log, "begin")
        first.send_signal(signal.SIGSTOP)
        async with open_worker(lab, 1, pace=QUICK):
            job = await ended(handle)
            first.send_signal(signal.SIGCONT)
            await written(log, "stopped")
    assert (job.state, job.attempts) == (JobState.SUCCEEDED, 2)


async def test_two_workers_run_every_job_once(
    lab: App, submit: Submit, ended: Any, settings: Settings, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with worker_process(settings, log):
        async with open_worker(lab, 4, pace=QUICK):
            handles = await asyncio.gather(*(submit(f"nap {n:02}") for n in range(40)))
            jobs = [await ended(handle) for handle in handles]
    assert {(job.state, job.attempts) for job in jobs} == {(JobState.SUCCEEDED, 1)}
    everything = log.read_text() + "\n".join(samples.DONE)
    assert everything.count("begin nap") == 40
    assert len({job.worker for job in jobs}) == 2, "both took some"


async def test_a_worker_that_is_told_to_stop_hands_its_job_over(
    lab: App, submit: Submit, ended: Any, settings: Settings, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with worker_process(settings, log) as first:
        handle = await submit("once hang")
        await written(log, "begin")
        first.terminate()
        async with open_worker(lab, 1, pace=QUICK):
            job = await ended(handle)
        assert first.wait(10) == 0
    assert (job.state, job.attempts) == (JobState.SUCCEEDED, 2)
    assert begun(log, "stopped") == 1


async def test_a_storm_of_killed_backends_passes(
    lab: App, submit: Submit, ended: Any, settings: Settings
) -> None:
    async with open_worker(lab, 4, pace=QUICK):
        handles = [await submit(f"nap {n}") for n in range(12)]
        async with await psycopg.AsyncConnection.connect(
            settings.database_url, autocommit=True
        ) as storm:
            for _ in range(10):
                await storm.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid() "
                    "AND usename = current_user"
                )
                await asyncio.sleep(0.2)
        handles += [await submit(f"nap after {n}") for n in range(3)]
        jobs = [await ended(handle) for handle in handles]
    assert {job.state for job in jobs} == {JobState.SUCCEEDED}


async def test_a_transport_that_ends_is_started_again(
    lab: App, submit: Submit, ended: Any, database: Database
) -> None:
    rename = "ALTER TABLE procrastinate.{} RENAME TO {}"
    async with open_worker(lab, 1, pace=QUICK):
        assert (await ended(await submit("before"))).state is JobState.SUCCEEDED
        async with database.session() as session:
            await session.execute(text(rename.format("procrastinate_workers", "gone")))
        while any(task.get_name() == "worker loop" for task in asyncio.all_tasks()):
            await asyncio.sleep(0.02)
        async with database.session() as session:
            await session.execute(text(rename.format("gone", "procrastinate_workers")))
        assert (await ended(await submit("after"))).state is JobState.SUCCEEDED


async def test_an_exhausted_pool_only_delays(lab: App, submit: Submit, ended: Any) -> None:
    handles = [await submit(f"nap {n}") for n in range(6)]
    pool: Any = lab.parts.db.engine.pool
    held = [await lab.parts.db.engine.connect() for _ in range(pool.size() + 10)]
    async with open_worker(lab, 4, pace=QUICK):
        for connection in held:
            await connection.close()
        jobs = [await ended(handle) for handle in handles]
    assert {job.state for job in jobs} == {JobState.SUCCEEDED}


@asynccontextmanager
async def own_server() -> AsyncIterator[tuple[EmbeddedPostgres, Settings]]:
    """Give a database server of this test alone."""
    with (
        tempfile.TemporaryDirectory(prefix="nebula-jobs-") as home,
        EmbeddedPostgres(Path(home), {"fsync": "off"}) as server,
    ):
        yield (
            server,
            Settings(
                _env_file=None,
                home=Path(home),
                database_url=server.url,
                ollama_host="http://ollama.test",
                warm_start=False,
                workers=0,
            ),
        )


async def nap(app: App, who: Caller, number: int) -> JobHandle:
    """Submit a job that sleeps for a moment, with an effect that nobody can look up."""
    made = await app.executor.execute(
        "sample_opaque", {"name": f"nap {number}"}, caller=who, call_id=f"{number}"
    )
    assert isinstance(made, JobHandle)
    return made


async def test_workers_go_on_when_the_database_was_away() -> None:
    samples.DONE.clear()
    async with (
        own_server() as (server, settings),
        open_app(settings, registry=Registry(samples.ALL)) as app,
        open_worker(app, 2, pace=QUICK),
    ):
        ada = Caller(await app.parts.auth.create_user("ada", Role.ADMIN), Surface.REST)
        handles = [await nap(app, ada, n) for n in range(6)]
        stop = (server.data, "stop", "-m", "immediate", "-w")
        await asyncio.to_thread(server._programs.control, *stop)
        await asyncio.sleep(1.5)  # the outage
        await asyncio.to_thread(server.start)
        handles += [await nap(app, ada, n) for n in range(6, 9)]
        jobs = [await app.parts.jobs.wait(h.job_id, ada.principal, 30) for h in handles]
    assert {job.state for job in jobs} == {JobState.SUCCEEDED}, jobs
    assert sum(word.startswith("begin") for word in samples.DONE) == 9, "opaque work ran once"
