"""What a workflow may do: approvals, text from outside, rights, and who owns it."""

from typing import Any

import pytest

from nebula.app import App
from nebula.auth.principal import Caller, Principal, Role, Surface
from nebula.errors import ApprovalRequired, Conflict, InvalidInput, NotFound, PermissionDenied
from nebula.policy.labels import Label
from tests.tools.workflows import samples
from tests.tools.workflows.conftest import Flow
from tests.tools.workflows.test_engine import LOOK, put
from tools.workflows.engine import Engine

DESTROY = {"id": "gone", "tool": "flow_destroy", "with": {"name": "old"}}
PAGE = {"id": "page", "tool": "flow_page"}


async def test_a_run_waits_for_a_yes_and_goes_on_exactly_there_in_another_process(
    app: App, flow: Flow
) -> None:
    run = await flow.run([put("before"), DESTROY, put("after")])
    assert (run.state, samples.DONE) == ("waiting", ["put before"])
    asked = await flow.question()
    assert (asked.tool, asked.arguments["name"]) == ("flow_destroy", "old")
    # The one that asked is gone; another one has never heard of the run.
    await flow.engine.stop(0)
    other = Engine(app)
    await flow.work(run.id, other)
    assert samples.DONE == ["put before"], "nobody has decided"
    await flow.answer("approve")
    run = await flow.work(run.id, other)
    assert (run.state, samples.DONE) == ("done", ["put before", "destroy old", "put after"])
    await other.stop(0)


async def test_a_no_is_a_failure_of_that_step(flow: Flow) -> None:
    run = await flow.run([DESTROY, put("after")])
    await flow.answer("deny", "not this one")
    run = await flow.work(run.id)
    assert (run.state, samples.DONE) == ("failed", [])
    assert "not this one" in run.problem


async def test_a_step_may_only_ask_a_person(flow: Flow) -> None:
    run = await flow.run(
        [LOOK, {"id": "sure", "ask": "Keep ${len(steps.disk.result.disks)} disks?"}, put("after")]
    )
    assert run.state == "waiting"
    asked = await flow.answer("approve")
    assert (asked.tool, asked.arguments) == ("workflows_ask", {"question": "Keep 2 disks?"})
    run = await flow.work(run.id)
    assert (run.state, samples.DONE) == ("done", ["look all", "put after"])


async def test_text_from_outside_decides_nothing_and_what_the_owner_wrote_goes_on(
    flow: Flow,
) -> None:
    run = await flow.run(
        [PAGE, put("mine", "written-down"), put("theirs", "${steps.page.result.name}")]
    )
    assert (run.state, samples.DONE) == ("waiting", ["page page", "put written-down"])
    asked = await flow.answer("approve")
    assert asked.tainted
    assert asked.arguments["name"] == "what-the-page-says"
    run = await flow.work(run.id)
    assert run.state == "done"


async def test_what_comes_after_outside_text_asks_even_when_it_uses_another_steps_value(
    flow: Flow,
) -> None:
    run = await flow.run([LOOK, PAGE, put("found", "${steps.disk.result.disks[0].name}")])
    assert (run.state, samples.DONE) == ("waiting", ["look all", "page page"])


async def test_inputs_vouch_for_themselves_unless_they_came_from_outside(flow: Flow) -> None:
    inputs = {"name": {"type": "text"}}
    await flow.save([PAGE, put("given", "${inputs.name}")], inputs=inputs)
    run = await flow.start({"name": "typed"})
    assert (run.state, samples.DONE[-1]) == ("done", "put typed")
    tainted = Caller(
        flow.who,
        Surface.CHAT,
        labels=frozenset({Label.USER, Label.OUTSIDE}),
        by_model=True,
        words=("run the workflow sample with name=from-a-page",),
    )
    with pytest.raises(ApprovalRequired):
        await flow.app.executor.execute(
            "workflows_run",
            {"workflow": "sample", "inputs": {"name": "from-a-page"}},
            caller=tainted,
            call_id="tainted",
        )


async def test_a_definition_from_outside_vouches_for_nothing(app: App, flow: Flow) -> None:
    labels = frozenset({Label.USER, Label.OUTSIDE})
    await flow.save([put("one", "written-down")])
    from sqlalchemy import text

    async with app.parts.db.session() as session:
        await session.execute(text('UPDATE workflows SET labels = \'["outside", "user"]\''))
    run = await flow.start()
    assert (run.state, samples.DONE) == ("waiting", [])
    assert labels == {Label(each) for each in (await flow.question()).labels}


async def test_it_may_do_what_its_owner_could_and_still_can(
    app: App, people: Any, flow: Flow
) -> None:
    made = await flow.save([put("one")])
    assert made.rights == ["flow:write", "workflows:write"]
    with pytest.raises(InvalidInput, match="only a person may use flow_person"):
        await flow.save([{"id": "x", "tool": "flow_person", "with": {"name": "y"}}])
    with pytest.raises(InvalidInput, match="neither makes nor starts workflows"):
        await flow.save([{"id": "x", "tool": "workflows_list"}])
    viewer = Flow(app, await people(Role.VIEWER, "looks"), flow.engine)
    with pytest.raises(PermissionDenied):
        await viewer.save([LOOK])


async def test_nobody_sees_or_changes_anothers_workflow_and_an_administrator_may_pause_it(
    app: App, people: Any, flow: Flow
) -> None:
    dev = Flow(app, await people(Role.DEVELOPER, "dev"), flow.engine)
    other = Flow(app, await people(Role.DEVELOPER, "other"), flow.engine)
    made = await dev.use("workflows_create", spec={"name": "theirs", "steps": [put("one")]})
    assert (await other.use("workflows_list")).workflows == []
    with pytest.raises(NotFound):
        await other.use("workflows_run", workflow="theirs")
    spec = {"name": "theirs", "steps": [put("two")]}
    with pytest.raises(PermissionDenied, match="who alone may change it"):
        await flow.use("workflows_update", workflow=made.workflow.id, spec=spec)
    paused = await flow.use("workflows_update", workflow="theirs", action="pause")
    assert not paused.workflow.enabled
    with pytest.raises(Conflict, match="switched off"):
        await dev.use("workflows_run", workflow="theirs")


async def test_what_runs_by_itself_makes_and_starts_no_workflows(
    app: App, admin: Principal, flow: Flow
) -> None:
    await flow.save([put("one")])
    agent = Caller(admin, Surface.SCHEDULE, agent="watch")
    for tool, arguments in (
        ("workflows_run", {"workflow": "sample"}),
        ("workflows_create", {"spec": {"name": "more", "steps": [put("one")]}}),
    ):
        with pytest.raises(PermissionDenied):
            await app.executor.execute(tool, arguments, caller=agent, call_id=f"agent-{tool}")
