"""Jobs from their call to their end, with a real worker over a real database."""

from typing import Any

from nebula.app import App
from nebula.auth.principal import Caller
from nebula.jobs.job import JobState
from nebula.jobs.worker import Worker
from tests.nebula.jobs import samples
from tests.nebula.jobs.conftest import Submit


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
