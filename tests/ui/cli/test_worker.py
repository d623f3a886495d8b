"""`jarvis worker` over a data folder with the embedded database."""

import json
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ui.cli.terminal import Terminal
from tests.ui.cli.test_up import _processes_of


@pytest.fixture
def fresh() -> Iterator[Terminal]:
    # Not tmp_path: as root, another pytest run closes its parents to the database's account.
    with tempfile.TemporaryDirectory(prefix="nebula-home-") as folder:
        yield Terminal(Path(folder))


@pytest.mark.timeout(240)
def test_a_worker_keeps_the_database_runs_jobs_and_leaves_nothing_behind(fresh: Terminal) -> None:
    with fresh.start("worker", "--jobs", "2") as worker:
        try:
            assert worker.stdout is not None
            said = worker.stdout.readline()
            while "takes jobs" not in said:
                assert said, "it ended"
                said = worker.stdout.readline()
            assert re.search(r"Worker \S+ takes jobs, 2 at once", said)
            submit = ("run", "jobs_submit", "-a", "tool=services_list", "--detach", "--json")
            asked = fresh.run(*submit)
            assert asked.returncode == 0, asked.stderr
            job_id = json.loads(asked.stdout)["job_id"]
            state = "queued"
            while state in {"queued", "running"}:
                # Each of these joins the database and leaves it; the worker keeps it running.
                looked = fresh.run("run", "jobs_get", "-a", f"job_id={job_id}", "--json")
                state = json.loads(looked.stdout)["state"]
            assert state == "succeeded"
            worker.send_signal(signal.SIGTERM)
            rest, _ = worker.communicate(timeout=60)
            assert worker.returncode == 0, rest
            assert "Stopped." in rest
        finally:
            if worker.poll() is None:
                worker.kill()
    assert _processes_of(fresh.home) == []
