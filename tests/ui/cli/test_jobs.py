"""Jobs at the terminal: followed to the end, left alone, listed, cancelled, run again."""

import json
import re

import psycopg
import pytest

from tests.ui.cli.terminal import Ended, Terminal

SUBMIT = ("run", "jobs_submit", "-a", "tool=users_list")


@pytest.fixture
def busy(terminal: Terminal) -> None:
    """Let a worker seem alive that takes no job."""
    with psycopg.connect(terminal.database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO job_workers (id, heartbeat_at) VALUES ('other', now() + interval '1 hour')"
        )


def submitted(terminal: Terminal) -> str:
    ended = terminal.run(*SUBMIT, "--detach", "--json")
    assert ended.returncode == 0, ended.stderr
    job_id: str = json.loads(ended.stdout)["job_id"]
    return job_id


def state(terminal: Terminal, job_id: str) -> str:
    listed = json.loads(terminal.run("jobs", "--json").stdout)
    return next(job["state"] for job in listed["jobs"] if job["id"] == job_id)


def json_of(ended: Ended) -> dict[str, object]:
    found: dict[str, object] = json.loads(ended.stdout)
    return found


def test_a_job_is_followed_and_its_result_drawn_where_no_worker_runs(terminal: Terminal) -> None:
    ended = terminal.run(*SUBMIT)
    assert ended.returncode == 0, ended.stderr
    assert "the job runs here" in ended.stderr
    assert "users_list: running" in ended.stderr
    assert "admin" in ended.stdout


def test_with_json_the_whole_job_is_written(terminal: Terminal) -> None:
    job = json_of(terminal.run(*SUBMIT, "--json"))
    assert (job["tool"], job["state"]) == ("users_list", "succeeded")


def test_a_detached_job_is_listed_followed_later_and_run_again(terminal: Terminal) -> None:
    job_id = submitted(terminal)
    assert state(terminal, job_id) == "queued"
    assert job_id in terminal.run("jobs").stdout
    assert "admin" in terminal.run("jobs", "follow", job_id).stdout
    assert state(terminal, job_id) == "succeeded"
    again = terminal.run("jobs", "follow", job_id)
    assert "admin" in again.stdout
    retried = json_of(terminal.run("jobs", "retry", job_id, "--json"))
    assert retried["state"] == "succeeded" and retried["id"] != job_id


@pytest.mark.usefixtures("busy")
def test_a_waiting_job_is_cancelled_once(terminal: Terminal) -> None:
    job_id = submitted(terminal)
    assert terminal.run("jobs", "cancel", job_id).returncode == 0
    assert state(terminal, job_id) == "cancelled"
    assert terminal.run("jobs", "cancel", job_id).returncode == 6
    assert terminal.run("jobs", "follow", job_id).returncode == 6
    assert terminal.run("jobs", "follow", "job_0000").returncode == 5


def test_a_job_that_fails_ends_with_the_code_of_its_error(terminal: Terminal) -> None:
    ended = terminal.run(
        "run", "jobs_submit", "--json-args", '{"tool": "users_update", "arguments": {"user": "x"}}'
    )
    assert ended.returncode in {3, 5}, ended.stderr


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize(("answer", "left"), [(b"d\n", "queued"), (b"c\n", "cancelled")])
def test_ctrl_c_asks_whether_to_cancel_or_to_leave_it(
    terminal: Terminal, answer: bytes, left: str
) -> None:
    code, screen = terminal.type(
        *SUBMIT, answers=[("users_list: queued", b"\x03"), ("[d]etach", answer)]
    )
    found = re.search(r"job_\w+", screen) if left == "queued" else None
    assert (code == 0) is (left == "queued"), screen
    listed = json.loads(terminal.run("jobs", "--json").stdout)["jobs"]
    assert [job["state"] for job in listed] == [left]
    if found is not None:
        assert found[0] == listed[0]["id"]
