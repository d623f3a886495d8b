"""A cancelled run: what it does is stopped, what it asks is withdrawn, its last steps run."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from nebula.app import App
from nebula.auth.principal import Surface
from nebula.errors import Conflict
from nebula.tool.approval import STREAM
from tests.tools.workflows import samples
from tests.tools.workflows.conftest import Flow
from tests.tools.workflows.test_engine import put
from tools.workflows.engine import Engine

ASK: dict[str, Any] = {"id": "sure", "ask": "Go on?"}
LAST = {"finally": [put("last", when="run.state == 'cancelled'")]}


async def begun(flow: Flow, until: str, steps: list[dict[str, Any]], **more: Any) -> str:
    """Save and begin a run, and let it work until it has done something."""
    await flow.save(steps, **more)
    run: str = (await flow.use("workflows_run", workflow="sample")).run.id
    await flow.engine.beat()
    await happened(until)
    return run


async def happened(what: str) -> None:
    async with asyncio.timeout(10):
        while what not in samples.DONE:
            await asyncio.sleep(0.01)


async def sql(flow: Flow, statement: str) -> None:
    async with flow.app.parts.db.session() as session:
        await session.execute(text(statement))


async def test_a_run_cancelled_in_the_middle_goes_through_its_last_steps(flow: Flow) -> None:
    told = put("told", "${steps.one.result.name}-${steps.hang.state}-${run.state}")
    hang = put("hang", clean_up=[put("undo")])
    run_id = await begun(flow, "hang", [put("one"), hang, put("never")], **{"finally": [told]})
    cancelled = (await flow.use("workflows_cancel", run=run_id)).run
    run = await flow.work(run_id)
    steps = await flow.steps(run_id)
    assert (cancelled.state, cancelled.cancel_requested) == ("running", True)
    assert "Its last steps run" in cancelled.problem
    assert samples.DONE == ["put one", "hang", "put one-cancelled-cancelled"]
    assert (run.state, run.problem) == ("cancelled", f"{flow.who.name} cancelled it.")
    states = {path: step.state for path, step in steps.items()}
    assert states == {"one": "done", "hang": "cancelled", "finally/told": "done"}


async def test_a_waiting_run_that_is_cancelled_asks_no_more_and_goes_through_its_last_steps(
    flow: Flow,
) -> None:
    run = await flow.run([put("one"), ASK, put("never")], **LAST)
    question = await flow.question()
    after = await flow.app.parts.events.last(STREAM)
    await flow.use("workflows_cancel", run=run.id)
    assert await flow.app.parts.approvals.list(flow.who) == []
    [heard] = await flow.app.parts.events.read(STREAM, after)
    assert (heard.data["id"], heard.data["state"]) == (question.id, "withdrawn")
    with pytest.raises(Conflict, match="no longer needed: The run was cancelled"):
        await flow.app.parts.approvals.decide(
            question.id, decision="approve", by=flow.who, surface=Surface.CHAT
        )
    run = await flow.work(run.id)
    steps = await flow.steps(run.id)
    assert (run.state, samples.DONE) == ("cancelled", ["put one", "put last"])
    assert (steps["sure"].state, "never" in steps) == ("cancelled", False)


async def test_a_second_cancel_stops_the_last_steps_too(flow: Flow) -> None:
    more: dict[str, Any] = {"finally": [put("hang"), put("last")]}
    run = await flow.run([ASK], **more)
    await flow.use("workflows_cancel", run=run.id)
    await flow.engine.beat()
    await happened("hang")
    await flow.engine.beat()
    assert (await flow.look(run.id)).state == "running", "the first cancel is no second one"
    await flow.use("workflows_cancel", run=run.id)
    async with asyncio.timeout(10):  # long before its tool would time out
        run = await flow.work(run.id)
    assert (run.state, samples.DONE) == ("cancelled", ["hang"])
    assert "last steps were stopped" in run.problem
    assert (await flow.steps(run.id))["finally/hang"].state == "cancelled"


async def test_a_cancel_during_the_last_steps_lets_them_go_on(flow: Flow) -> None:
    more: dict[str, Any] = {"finally": [put("hang"), put("last")]}
    run_id = await begun(flow, "hang", [put("one")], **more)
    await flow.use("workflows_cancel", run=run_id)
    await flow.engine.beat()
    samples.GATE.set()
    run = await flow.work(run_id)
    assert (run.state, samples.DONE) == ("cancelled", ["put one", "hang", "put hang", "put last"])


async def test_the_last_steps_of_a_cancelled_run_have_their_time_and_no_more(flow: Flow) -> None:
    more: dict[str, Any] = {"finally": [put("hang"), put("last")]}
    run = await flow.run([ASK], **more)
    await flow.use("workflows_cancel", run=run.id)
    await flow.engine.beat()
    await happened("hang")
    await sql(flow, "UPDATE workflow_runs SET finish_by = clock_timestamp()")
    async with asyncio.timeout(10):  # long before its tool would time out
        run = await flow.work(run.id)
    assert (run.state, samples.DONE) == ("cancelled", ["hang"])


async def test_last_steps_that_ask_are_asked_until_their_time_is_over(flow: Flow) -> None:
    run = await flow.run([put("one")], **{"finally": [{**ASK, "id": "end"}, put("last")]})
    assert run.state == "waiting"
    cancelled = (await flow.use("workflows_cancel", run=run.id)).run
    assert cancelled.state == "waiting"
    [question] = await flow.app.parts.approvals.list(flow.who)
    await flow.engine.beat()
    await flow.engine.idle()
    await sql(flow, "UPDATE workflow_runs SET finish_by = clock_timestamp(), wake_at = finish_by")
    await sql(flow, "UPDATE workflow_runs SET wake_at = clock_timestamp()")
    run = await flow.work(run.id)
    assert (run.state, samples.DONE) == ("cancelled", ["put one"])
    kept = await flow.app.parts.approvals.get(question.id, flow.who)
    assert (kept.state, kept.comment) == ("withdrawn", "The run was cancelled.")


async def test_another_process_does_the_last_steps_of_one_that_ended(app: App, flow: Flow) -> None:
    run_id = await begun(flow, "hang", [put("one"), put("hang")], **LAST)
    await flow.use("workflows_cancel", run=run_id)
    await flow.engine.stop(0)
    assert samples.DONE == ["put one", "hang"], "a process that stops begins nothing more"
    other = Engine(app)
    run = await flow.work(run_id, other)
    await other.stop(0)
    assert (run.state, samples.DONE) == ("cancelled", ["put one", "hang", "put last"])


async def test_a_cancelled_run_that_is_resumed_comes_to_its_last_steps_again(flow: Flow) -> None:
    run = await flow.run([put("one"), ASK], **{"finally": [put("last")]})
    await flow.use("workflows_cancel", run=run.id)
    assert (await flow.work(run.id)).state == "cancelled"
    await flow.use("workflows_resume", run=run.id)
    await flow.work(run.id)
    await flow.answer("approve")
    run = await flow.work(run.id)
    assert (run.state, samples.DONE) == ("done", ["put one", "put last", "put last"])
    assert not run.cancel_requested


async def test_what_a_loop_has_done_is_seen_by_the_last_steps(flow: Flow) -> None:
    each = put("each", "${item}", for_each=["a", "hang", "c"])
    block = {"id": "block", "steps": [put("in", "in"), each]}
    told = put("told", "${steps.block.ok}-${steps.in.result.name}-${steps.each.rounds}")
    run_id = await begun(flow, "hang", [block, put("never")], **{"finally": [told]})
    await flow.use("workflows_cancel", run=run_id)
    run = await flow.work(run_id)
    assert run.state == "cancelled", run.problem
    assert samples.DONE == ["put in", "put a", "hang", "put false-in-2"], run.problem


async def test_a_failure_of_the_last_steps_is_told_beside_the_cancel(flow: Flow) -> None:
    away = {"id": "away", "tool": "flow_throw", "with": {"name": "away"}}
    run = await flow.run([ASK], **{"finally": [away]})
    await flow.use("workflows_cancel", run=run.id)
    run = await flow.work(run.id)
    said = f"{flow.who.name} cancelled it. finally: away: It does not answer."
    assert (run.state, run.problem) == ("cancelled", said)


@pytest.mark.parametrize("first", ["approve", "cancel", "neither"])
async def test_an_answer_at_the_moment_of_a_cancel_runs_nothing(flow: Flow, first: str) -> None:
    destroy = {"id": "gone", "tool": "flow_destroy", "with": {"name": "disk"}}
    run = await flow.run([destroy])
    question = await flow.question()
    answering = flow.app.parts.approvals.decide(
        question.id, decision="approve", by=flow.who, surface=Surface.CHAT
    )
    cancelling = flow.use("workflows_cancel", run=run.id)
    if first == "neither":
        await asyncio.gather(answering, cancelling, return_exceptions=True)
    elif first == "approve":
        await answering
        await cancelling
    else:
        await cancelling
        with pytest.raises(Conflict):
            await answering
    run = await flow.work(run.id)
    kept = await flow.app.parts.approvals.get(question.id, flow.who)
    assert (run.state, samples.DONE, kept.state) == ("cancelled", [], "withdrawn")


async def test_an_approved_call_is_not_made_by_a_walk_that_was_under_way(flow: Flow) -> None:
    """The run is taken up for the answer, and cancelled before the call has begun."""
    destroy = {"id": "gone", "tool": "flow_destroy", "with": {"name": "disk"}}
    run = await flow.run([destroy])
    await flow.answer("approve")
    held = "UPDATE workflow_runs SET state = 'running', held_until = now() + interval '1 minute'"
    await sql(flow, f"{held}, held_by = '{flow.engine._holder}'")
    await flow.use("workflows_cancel", run=run.id)
    waiting = "UPDATE workflow_runs SET state = 'waiting', wake_at = now(), held_by = '',"
    await sql(flow, f"{waiting} cancel_requested = false")  # as the walk saw it
    await flow.engine.beat()
    await flow.engine.idle()
    assert (samples.DONE, (await flow.look(run.id)).state) == ([], "failed")


async def test_a_run_that_fails_beside_a_question_asks_no_more(flow: Flow) -> None:
    away = {"id": "away", "tool": "flow_throw", "with": {"name": "away"}}
    run = await flow.run([{"id": "both", "parallel": [ASK, away]}])
    assert run.state == "waiting"
    await sql(flow, "UPDATE approvals SET expires_at = now() + interval '1 day'")
    await flow.use("workflows_cancel", run=run.id)
    assert await flow.app.parts.approvals.list(flow.who) == []
