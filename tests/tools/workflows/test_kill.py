"""A process that is killed in the middle of a step: another one goes on, and repeats what may be."""

import asyncio
from pathlib import Path

from sqlalchemy import text

from nebula.app import App
from nebula.settings import Settings
from tests.tools.workflows import samples
from tests.tools.workflows.conftest import Flow
from tests.tools.workflows.process import engine_process
from tests.tools.workflows.test_engine import put


async def test_a_killed_process_loses_nothing_and_only_what_may_be_is_made_again(
    app: App, flow: Flow, settings: Settings, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    samples.GATE.set()
    await flow.save([put("before"), put("hang"), put("after")])
    send = {"id": "send", "tool": "flow_send", "with": {"name": "letter"}}
    await flow.use("workflows_create", spec={"name": "opaque", "steps": [send, put("never")]})
    first = (await flow.use("workflows_run", workflow="sample")).run.id
    second = (await flow.use("workflows_run", workflow="opaque")).run.id
    with engine_process(settings, log) as process:
        while not log.exists() or not {"hang", "send"} <= set(log.read_text().split("\n")):
            await asyncio.sleep(0.05)
            assert process.poll() is None
        process.kill()
        process.wait()
    await flow.engine.beat()
    assert {(await flow.look(run)).state for run in (first, second)} == {"running"}, "still held"
    await much_later(app)
    repeated = await flow.work(first)
    unknown = await flow.work(second)
    assert repeated.state == "done", repeated.problem
    assert sorted(log.read_text().splitlines()) == ["hang", "put before", "send"]
    assert samples.DONE == ["hang", "put hang", "put after"], "what was done is not done again"
    assert unknown.state == "failed"
    steps = await flow.use("workflows_get", workflow="opaque", run=second)
    assert [(step.path, step.state) for step in steps.steps] == [("send", "unknown")]


async def much_later(app: App) -> None:
    """Let the holds on runs and the times of calls be over."""
    async with app.parts.db.session() as session:
        await session.execute(text("UPDATE workflow_runs SET held_until = now()"))
        await session.execute(
            text("UPDATE tool_calls SET deadline = now() WHERE state = 'running'")
        )
