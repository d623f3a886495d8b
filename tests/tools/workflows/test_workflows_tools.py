"""The workflows tools: every mistake has its line, nothing is saved with one, and who may what."""

from typing import Any

import pytest

from docs.generate import ROOT
from nebula.app import App
from nebula.auth.principal import Caller, Principal, Surface
from nebula.errors import ApprovalRequired, Conflict, InvalidInput, NotFound, PermissionDenied
from nebula.jobs.schedules.launch import ticking
from nebula.jobs.worker import open_worker
from nebula.tool.diagram import Diagram
from nebula.tool.render import to_markdown
from tests.nebula.jobs.pace import QUICK
from tests.tools.workflows import samples
from tests.tools.workflows.conftest import Flow
from tests.tools.workflows.test_engine import LOOK, put
from tools.workflows.engine import Engine
from tools.workflows.reading import read
from tools.workflows.ready import blank, ready_workflows
from tools.workflows.runs import Runs
from tools.workflows.telling import changes_of

GOOD = """\
name: sample
inputs:
  days: {type: integer, default: 7}
steps:
  - id: disk
    tool: flow_look
  - id: note
    tool: flow_put
    with:
      name: ${steps.disk.result.disks[0].name}
"""

MISTAKES: list[tuple[str, str, int, str]] = [
    ("tool: flow_look", "tool: flow_lok", 6, "Did you mean flow_look"),
    ("result.disks", "result.diks", 10, "Did you mean disks?"),
    ("steps.disk.result.disks[0].name", "steps.disc.result", 10, "Did you mean disk?"),
    ("steps.disk.result.disks[0].name", "steps.note.ok", 10, "has not run at this point"),
    ("steps.disk.result.disks[0].name", "inputs.days", 10, "name takes text, and this is integer"),
    ("steps.disk.result.disks[0].name", "inputs.day", 10, "Did you mean days?"),
    ("steps.disk.result.disks[0].name", "1 +", 10, "a value is expected"),
    ("name: ${", "nam: ${", 10, "Did you mean name?"),
    ("id: note", "id: disk", 4, "two steps are called 'disk'"),
    ("id: note", "id: note\n    needs: [dsk]", 8, "Did you mean disk?"),
    ("id: note", "id: note\n    when: inputs.days", 8, "a condition is true or false"),
    ("id: note", "id: note\n    when: steps.disk.state == 'don'", 8, "Did you mean done?"),
    ("id: note", "id: note\n    for_each: inputs.days", 8, "goes through a list"),
    ("id: note", "id: note\n    tol: x", 8, "did you mean 'tool'?"),
    ("id: note", "id: note\n    ask: Really?", 7, "one of tool, ask, steps and parallel"),
    ("id: note", "id: note\n    retry: {wait: 5 lightyears}", 8, "no duration"),
    ("default: 7", "default: seven", 3, "the default is text, not integer"),
    ("name: sample", "name: sample\nname: twice", 2, "stands twice"),
    ("    with:\n      name: ${steps.disk.result.disks[0].name}\n", "", 7, "needs 'name'"),
]


@pytest.mark.parametrize(("old", "new", "line", "said"), MISTAKES, ids=[m[1] for m in MISTAKES])
async def test_a_mistake_is_named_with_its_line(
    checked: Any, old: str, new: str, line: int, said: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        checked(GOOD.replace(old, new, 1))
    assert f"line {line}: " in str(refused.value)
    assert said in str(refused.value)


@pytest.fixture(scope="module")
def checked() -> Any:
    """Check a definition against the sample tools, without a program around it."""
    from nebula.tool.registry import Registry
    from nebula.yaml_file import BadFile
    from tools.workflows.checking import check
    from tools.workflows.reading import read, refused

    registry = Registry(samples.ALL)

    def look(text: str) -> None:
        try:
            spec, document = read(text)
        except BadFile as error:
            raise refused(error.problems) from error
        if problems := check(spec, document, registry, lambda _tool: ""):
            raise refused(problems)

    return look


def test_what_is_right_is_found_right(checked: Any) -> None:
    checked(GOOD)


def test_steps_that_wait_for_each_other_are_a_mistake(checked: Any) -> None:
    circle = GOOD.replace("id: disk", "id: disk\n    needs: [note]")
    with pytest.raises(InvalidInput, match="wait for each other"):
        checked(circle)


async def test_nothing_is_saved_with_a_mistake_and_a_check_saves_nothing(flow: Flow) -> None:
    wrong = GOOD.replace("flow_look", "flow_lok")
    with pytest.raises(InvalidInput):
        await flow.use("workflows_create", definition=wrong)
    found = await flow.use("workflows_check", definition=wrong)
    assert any("Did you mean flow_look" in each for each in found.problems)
    right = await flow.use("workflows_check", definition=GOOD)
    assert (right.problems, isinstance(right.diagram, Diagram)) == ([], True)
    assert (await flow.use("workflows_list")).workflows == []
    with pytest.raises(InvalidInput, match="one of them"):
        await flow.use("workflows_create")
    with pytest.raises(InvalidInput, match="The schedule"):
        await flow.use("workflows_create", definition=GOOD + "cron: 99 * * * *\n")
    with pytest.raises(InvalidInput, match=r"no event 'job\.done'"):
        await flow.use("workflows_create", definition=GOOD + "trigger: {event: job.done}\n")


async def test_a_workflow_is_saved_changed_drawn_scheduled_and_paused(app: App, flow: Flow) -> None:
    made = await flow.use(
        "workflows_create", definition=GOOD + "cron: 0 7 * * 1-5\ntimezone: Europe/Berlin\n"
    )
    assert made.workflow.when == "on weekdays at 07:00 (Europe/Berlin)"
    assert made.workflow.next_run_at is not None
    with pytest.raises(Conflict, match="a workflow 'sample' already"):
        await flow.use("workflows_create", definition=GOOD)
    run = await flow.start()
    changed = await flow.use("workflows_update", workflow="sample", definition=GOOD)
    assert (changed.workflow.version, changed.workflow.when) == (2, "when it is started")
    assert await app.parts.schedules.list(flow.who) == []
    timed = await flow.use("workflows_schedule", workflow="sample", every_minutes=15)
    assert timed.workflow.when == "every 15 minutes"
    paused = await flow.use("workflows_update", workflow="sample", action="pause")
    assert (paused.workflow.enabled, paused.workflow.next_run_at) == (False, None)
    shown = await flow.use("workflows_get", workflow="Sample", run="last")
    assert (shown.run.id, shown.run.state) == (run.id, "done")
    states = {box.id: box.state for box in shown.diagram.boxes}
    assert (states["disk"], states["note"]) == ("done", "done")
    said, part = shown.render()
    assert (said.kind, part.kind, part.of) == ("markdown", "live", f"{shown.workflow.id}:{run.id}")
    assert [block.kind for block in part.blocks] == ["diagram", "markdown", "table"]
    with pytest.raises(NotFound, match="no workflow 'smple'"):
        await flow.use("workflows_get", workflow="smple")


async def test_a_wrong_time_or_event_is_named_with_its_line(flow: Flow) -> None:
    for wrong, line in [
        ("timezone: UTC\ncron: 99 * * * *\n", 2),
        ("trigger: {event: job.dun}\n", 1),
    ]:
        found = await flow.use("workflows_check", definition=GOOD + wrong)
        before = GOOD.count("\n")
        assert [each.split(":")[0] for each in found.problems] == [f"line {before + line}"]


async def test_the_blank_workflow_has_no_mistakes_and_every_ready_one_can_be_begun_with(
    flow: Flow,
) -> None:
    assert read(blank())[0].name == "my-workflow"
    form = await flow.use("workflows_compose")
    [part] = form.render()
    assert (part.kind, part.view, part.of) == ("live", "workflow-editor", "")
    [part] = (await flow.use("workflows_compose", from_ready="Disk watch")).render()
    assert part.of == "ready:disk-watch"
    made = await flow.save([put("one")])
    [part] = (await flow.use("workflows_compose", workflow="sample")).render()
    assert part.of == made.id
    with pytest.raises(NotFound, match="smple"):
        await flow.use("workflows_compose", workflow="smple")
    with pytest.raises(InvalidInput, match="not both"):
        await flow.use("workflows_compose", workflow="sample", from_ready="disk-watch")


async def test_the_list_is_a_part_of_the_page_and_the_same_in_words(flow: Flow) -> None:
    await flow.save([put("one")])
    [part] = (await flow.use("workflows_list")).render()
    assert (part.view, part.of) == ("workflows", "")
    assert part.text == "1 workflow, 1 of them switched on."
    assert "sample" in to_markdown([part])


async def test_an_owner_s_pages_hear_of_every_change_and_of_how_runs_stand(
    app: App, flow: Flow
) -> None:
    made = await flow.save([put("one")])
    run = await flow.start()
    await flow.use("workflows_update", workflow="sample", action="pause")
    await flow.use("workflows_schedule", workflow="sample", every_minutes=15)
    heard = await app.parts.events.read(changes_of(flow.who.id))
    said = [(each.kind, each.data.get("state")) for each in heard]
    assert said == [
        ("workflow.changed", None),
        ("workflow.run", "queued"),
        ("workflow.run", "running"),
        ("workflow.run", "done"),
        ("workflow.changed", None),
        ("workflow.changed", None),
    ]
    assert {each.data["id"] for each in heard} == {made.id}
    latest = await Runs(app.parts).latest(flow.who)
    assert {name: each.id for name, each in latest.items()} == {made.id: run.id}


async def test_every_wrong_input_is_told_at_its_field(flow: Flow) -> None:
    await flow.save(
        [put("one")],
        inputs={"a": {"required": True}, "b": {"type": "integer"}, "c": {"choices": ["x"]}},
    )
    with pytest.raises(InvalidInput) as wrong:
        await flow.use("workflows_run", workflow="sample", inputs={"b": "no", "c": "y", "d": 1})
    assert [each["field"] for each in wrong.value.fields] == [
        "inputs.d",
        "inputs.a",
        "inputs.b",
        "inputs.c",
    ]
    assert "One of: x." in wrong.value.fields[3]["problem"]


async def test_a_workflow_tells_what_it_takes(flow: Flow) -> None:
    inputs = {
        "disk": {"description": "Which disk", "required": True},
        "level": {"type": "integer", "default": 3, "choices": [1, 3]},
    }
    await flow.save([put("one", "${inputs.disk}")], inputs=inputs)
    shown = await flow.use("workflows_get", workflow="sample")
    disk, level = shown.workflow.takes
    assert (disk.name, disk.type, disk.required, disk.description) == (
        *("disk", "text", True, "Which disk"),
    )
    assert (level.name, level.default, level.choices) == ("level", 3, [1, 3])
    said = to_markdown(shown.render())
    assert "must be given" in said and "integer: 1, 3" in said


async def test_deleting_waits_for_a_yes_and_takes_schedule_and_runs_along(
    app: App, flow: Flow
) -> None:
    await flow.save([put("one")], cron="@daily")
    await flow.start()
    with pytest.raises(ApprovalRequired):
        await flow.use("workflows_delete", workflow="sample")
    await flow.answer("approve")
    call_id = f"{flow.who.name}-{flow._calls}"
    gone = await app.executor.execute(
        "workflows_delete",
        {"workflow": "sample"},
        caller=Caller(flow.who, Surface.REST),
        call_id=call_id,
    )
    assert (gone.name, gone.runs) == ("sample", 1)
    assert await app.parts.schedules.list(flow.who) == []
    assert (await flow.use("workflows_list_runs")).runs == []


async def test_deleting_is_denied_to_who_may_only_look(
    app: App, viewer: Principal, flow: Flow
) -> None:
    await flow.save([put("one")])
    with pytest.raises(PermissionDenied):
        await Flow(app, viewer, flow.engine).use("workflows_delete", workflow="sample")


async def test_deleting_is_refused_while_a_run_goes_on(app: App, flow: Flow) -> None:
    run = await flow.run([{"id": "sure", "ask": "Go on?"}])
    with pytest.raises(ApprovalRequired) as asked:
        await flow.use("workflows_delete", workflow="sample")
    call_id = f"{flow.who.name}-{flow._calls}"
    await app.parts.approvals.decide(
        asked.value.approval_id, decision="approve", by=flow.who, surface=Surface.CHAT
    )
    with pytest.raises(Conflict, match="goes on"):
        await app.executor.execute(
            "workflows_delete",
            {"workflow": "sample"},
            caller=Caller(flow.who, Surface.REST),
            call_id=call_id,
        )
    assert (await flow.look(run.id)).state == "waiting"


async def test_a_waiting_run_is_cancelled_at_once_and_goes_on_when_it_is_resumed(
    flow: Flow,
) -> None:
    run = await flow.run([put("one"), {"id": "sure", "ask": "Go on?"}, put("two")])
    cancelled = await flow.use("workflows_cancel", run=run.id)
    assert cancelled.run.state == "cancelled"
    with pytest.raises(Conflict, match="has ended"):
        await flow.use("workflows_cancel", run=run.id)
    await flow.use("workflows_resume", run=run.id)
    run = await flow.work(run.id)
    assert run.state == "waiting"
    questions = await flow.app.parts.approvals.list(flow.who)
    await flow.app.parts.approvals.decide(
        questions[0].id, decision="approve", by=flow.who, surface=Surface.CHAT
    )
    run = await flow.work(run.id)
    assert (run.state, samples.DONE) == ("done", ["put one", "put two"])


async def test_a_running_run_is_cancelled_in_the_middle(flow: Flow) -> None:
    await flow.save([put("hang"), put("never")])
    begun = await flow.use("workflows_run", workflow="sample")
    await flow.engine.beat()
    while "hang" not in samples.DONE:
        await _a_moment()
    await flow.use("workflows_cancel", run=begun.run.id)
    run = await flow.work(begun.run.id)
    assert (run.state, samples.DONE) == ("cancelled", ["hang"])


async def _a_moment() -> None:
    import asyncio

    await asyncio.sleep(0.01)


async def test_while_a_run_goes_on_the_next_is_refused_or_waits_in_line(flow: Flow) -> None:
    run = await flow.run([{"id": "sure", "ask": "Go on?"}])
    with pytest.raises(Conflict, match="still at work"):
        await flow.use("workflows_run", workflow="sample")
    queue = {"name": "queue", "overlap": "queue", "steps": [{"id": "sure", "ask": "On?"}]}
    await flow.use("workflows_create", spec=queue)
    first = await flow.use("workflows_run", workflow="queue")
    second = await flow.use("workflows_run", workflow="queue")
    await flow.work(first.run.id)
    assert (await flow.look(second.run.id)).state == "queued"
    await flow.use("workflows_cancel", run=first.run.id)
    assert (await flow.work(second.run.id)).state == "waiting"
    assert (await flow.look(run.id)).state == "waiting"


async def test_a_tick_and_an_event_start_one_run_each(app: App, flow: Flow, engine: Engine) -> None:
    await flow.save(
        [put("told", "${event.id}")], trigger={"event": "job.changed", "where": {"state": "failed"}}
    )
    for state in ("failed", "succeeded"):
        data = {"id": "job_1", "tool": "x", "state": state}
        await app.parts.events.publish("jobs", "job.changed", data, flow.who.id)
    other = Engine(app)
    for each in (engine, other, engine):
        await each.beat()
        await each.idle()
    [run] = (await flow.use("workflows_list_runs")).runs
    assert (run.started_by, run.state) == ("event job.changed", "done")
    assert samples.DONE == ["put job_1"]
    await other.stop(0)


async def test_a_delivery_to_ones_own_webhook_starts_a_run_and_anothers_does_not(
    app: App, flow: Flow, engine: Engine, developer: Principal
) -> None:
    trigger = {"event": "webhook.received", "where": {"hook": "live"}}
    await flow.save([LOOK, put("got", "${event.delivery}")], trigger=trigger)
    for owner, delivery in ((developer, "dlv_2"), (flow.who, "dlv_1")):
        data = {"hook": "live", "delivery": delivery}
        await app.parts.events.publish("webhooks", "webhook.received", data, owner.id)
    await engine.beat()
    await engine.idle()
    assert samples.DONE == ["look all", "put dlv_1"]


async def test_a_schedule_starts_runs_and_a_job_in_a_step_is_waited_for(
    app: App, flow: Flow
) -> None:
    job = {"id": "job", "tool": "flow_job", "with": {"name": "long"}}
    await flow.save([job, put("after", "after-${steps.job.result.name}")])
    from datetime import UTC, datetime, timedelta

    soon = datetime.now(UTC) + timedelta(seconds=0.3)
    await flow.use("workflows_schedule", workflow="sample", at=soon.isoformat())
    async with (
        open_worker(app, 2, grace_seconds=0.1, pace=QUICK),
        ticking(app.parts, poll_seconds=0.05),
    ):
        while not (runs := (await flow.use("workflows_list_runs")).runs):
            await _a_moment()
        run = await _until_ended(flow, runs[0].id)
    assert (run.state, run.started_by) == ("done", "its schedule"), run.problem
    assert samples.DONE == ["job long", "put after-long"]


async def _until_ended(flow: Flow, run_id: str) -> Any:
    while (run := await flow.work(run_id)).state == "waiting":
        await _a_moment()
    return run


async def test_what_fails_again_and_again_by_itself_is_switched_off_with_an_alert(
    app: App, flow: Flow, engine: Engine
) -> None:
    throw = {"id": "throw", "tool": "flow_throw", "with": {"name": "away"}}
    await flow.save([throw], failures=2, trigger={"event": "node.online"})
    after = await app.parts.events.last("alerts")
    for _ in range(2):
        await app.parts.events.publish("nodes", "node.online", {"node": "a"}, None)
        await engine.beat()
        await engine.idle()
    [shown] = (await flow.use("workflows_list")).workflows
    assert not shown.enabled
    assert "It failed 2 times in a row" in shown.stopped_because
    [alert] = await app.parts.events.read("alerts", after)
    assert alert.data["workflow"] == "sample"


def test_every_ready_workflow_fits_the_tools_there_are() -> None:
    from nebula.owned import slug
    from nebula.tool.registry import Registry
    from tools.workflows.checking import check
    from tools.workflows.reading import read

    registry = Registry.discover("tools", "graphs")
    for name, (text, _) in ready_workflows().items():
        spec, document = read(text)
        assert slug(name) == name
        assert check(spec, document, registry, lambda _tool: "") == []
    # What the manual shows must be right too.
    manual = (ROOT / "knowledge" / "docs" / "workflows.md").read_text()
    spec, document = read(manual.split("```yaml")[1].split("```")[0])
    assert check(spec, document, registry, lambda _tool: "") == []
