"""Everyday verbs with an id, over all the tools there are: no model is needed for them."""

from typing import Any

import pytest

from nebula.llm.command.answers import Call
from nebula.llm.command.mode import CommandMode
from nebula.llm.command.wording import readings
from nebula.llm.embedding import Embedder
from nebula.tool.registry import Registry
from nebula.tool.retrieval import ToolIndex

_REGISTRY = Registry.discover("tools", "graphs")
_TOOLS = list(_REGISTRY)

CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("cancel job_9", "jobs_cancel", {"job_id": "job_9"}),
    ("please cancel job_9", "jobs_cancel", {"job_id": "job_9"}),
    ("Hey Jarvis, could you stop the job job_9 for me?", "jobs_cancel", {"job_id": "job_9"}),
    ("abort job_0a1b2c3d4e.", "jobs_cancel", {"job_id": "job_0a1b2c3d4e"}),
    ("cancel job 9", "jobs_cancel", {"job_id": "job_9"}),
    ("kill job_9", "jobs_cancel", {"job_id": "job_9"}),
    ("retry job_9", "jobs_retry", {"job_id": "job_9"}),
    ("run job_9 again", "jobs_retry", {"job_id": "job_9"}),
    ("try job_9 once more", "jobs_retry", {"job_id": "job_9"}),
    ("show job_9", "jobs_get", {"job_id": "job_9"}),
    ("show me the log of job_9", "jobs_get", {"job_id": "job_9"}),
    ("how is job_9?", "jobs_get", {"job_id": "job_9"}),
    ("status of job_9", "jobs_get", {"job_id": "job_9"}),
    ("why did job_9 fail?", "jobs_get", {"job_id": "job_9"}),
    ("cancel wfr_0a1b", "workflows_cancel", {"run": "wfr_0a1b"}),
    ("resume wfr_0a1b", "workflows_resume", {"run": "wfr_0a1b"}),
    ("retry the workflow run wfr_0a1b", "workflows_resume", {"run": "wfr_0a1b"}),
    ("stop run_0a1b", "agents_stop", {"which": "run_0a1b"}),
    ("stop brd_0a1b", "agents_stop", {"which": "brd_0a1b"}),
    ("show brd_0a1b", "agents_get_board", {"board": "brd_0a1b"}),
    ("stop the agent morning-report", "agents_stop", {"which": "morning-report"}),
    ("pause the agent morning-report", "agents_update", {"action": "pause", "agent": "morning-report"}),
    ("pause the workflow disk-watch", "workflows_update", {"action": "pause", "workflow": "disk-watch"}),
    ("remember that job_9 broke twice", "recall_save", {"text": "job_9 broke twice"}),
    ("make a backup", "backups_create", {}),
    ("back everything up now", "backups_create", {}),
]  # fmt: skip


@pytest.fixture(scope="module")
def mode() -> CommandMode:
    known = {"service": lambda: ["ollama", "comfyui"], "node": lambda: ["gaming-pc"]}
    return CommandMode(ToolIndex(_REGISTRY, Embedder()), slot_values=known)


@pytest.mark.parametrize(("said", "name", "arguments"), CALLS)
def test_it_is_a_plain_command(
    mode: CommandMode, said: str, name: str, arguments: dict[str, Any]
) -> None:
    assert mode.match_exact(said, _TOOLS) == Call(name, arguments)


@pytest.mark.parametrize(
    "said",
    [
        "cancel the meeting", "stop it", "cancel job", "cancel job_", "cancel job_xyz!?#",
        "cancel myjob_9", "cancel https://x.org/job_9", "approve", "approve apr_0a1b", "deny",
        "cancel job_9 and job_8", "pause job_9",
    ],
)  # fmt: skip
def test_anything_else_is_left_to_whoever_understands_more(mode: CommandMode, said: str) -> None:
    assert mode.match_exact(said, _TOOLS) is None


def test_ids_are_named_once_and_only_in_the_last_reading() -> None:
    assert readings("cancel job_9") == ["cancel job_9", "cancel job job_9"]
    assert readings("cancel the Job job_9") == ["cancel the Job job_9"]
    assert readings("a job_zz, x_job_9, job_9/log") == ["a job_zz, x_job_9, job_9/log"]
