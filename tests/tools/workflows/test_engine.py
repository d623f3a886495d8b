"""Runs of workflows: order, data, conditions, loops, branches, failures and pauses."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nebula.errors import Conflict, InvalidInput
from tests.tools.workflows import samples
from tests.tools.workflows.conftest import Flow


def put(step: str, name: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": step, "tool": "flow_put", "with": {"name": name or step}, **more}


LOOK = {"id": "disk", "tool": "flow_look"}


async def test_steps_run_in_order_and_pass_data_on(flow: Flow) -> None:
    await flow.save(
        [
            {**LOOK, "with": {"name": "${inputs.which}"}},
            put(
                "note",
                "${steps.disk.result.disks[0].name}",
                when="steps.disk.result.free_bytes < 10 GB",
            ),
            put("never", when="${steps.disk.result.free_bytes} > 10 GB"),
            put("after", "after-${len(steps.disk.result.disks)}"),
        ],
        inputs={"which": {"type": "text", "default": "all"}},
        output={"free": "${steps.disk.result.free_bytes}", "left_out": "${steps.never.state}"},
    )
    run = await flow.start({"which": "home"})
    assert run.state == "done", run.problem
    assert samples.DONE == ["look home", "put sda", "put after-2"]
    assert run.output == {"free": 9_000_000_000, "left_out": "skipped"}
    steps = await flow.steps(run.id)
    assert steps["never"].state == "skipped"
    with pytest.raises(InvalidInput, match="no input 'whch'"):
        await flow.start({"whch": "home"})


async def test_a_loop_goes_through_a_list_side_by_side_within_its_bound(flow: Flow) -> None:
    each = put("each", "${item.name}-${index}", at_once=2)
    run = await flow.run(
        [
            LOOK,
            {**each, "for_each": "steps.disk.result.disks"},
            {
                "id": "block",
                "for_each": [1, 2, 3, 4],
                "at_once": 4,
                "steps": [put("one", "meet-${item}"), put("two", "two-${steps.one.result.name}")],
            },
            put("sum", "${join(pluck(steps.each.results, 'name'), ' ')}"),
            put("last", "${steps.block.results[3].two.name}"),
        ]
    )
    assert run.state == "done", run.problem
    assert set(samples.DONE[1:3]) == {"put sda-0", "put sdb-1"}
    assert samples.DONE[-2:] == ["put sda-0 sdb-1", "put two-meet-4"]


async def test_a_list_longer_than_its_bound_is_a_failure(flow: Flow) -> None:
    run = await flow.run(
        [LOOK, put("each", "${item.name}", for_each="steps.disk.result.disks", max=1)]
    )
    assert (run.state, samples.DONE) == ("failed", ["look all"])
    assert "at most 1" in run.problem


async def test_a_step_is_repeated_until_something_holds_and_no_longer(flow: Flow) -> None:
    repeat = {"until": "round == 3", "max": 5, "every": "0.01 s"}
    run = await flow.run([put("again", "again-${round}", repeat=repeat)])
    assert run.state == "done", run.problem
    assert samples.DONE == ["put again-1", "put again-2", "put again-3"]
    samples.DONE.clear()
    await flow.use(
        "workflows_update",
        workflow="sample",
        spec={"name": "sample", "steps": [put("again", repeat={"until": "false", "max": 2})]},
    )
    run = await flow.start()
    assert (run.state, samples.DONE) == ("failed", ["put again", "put again"])
    assert "not so after 2 times" in run.problem


async def test_branches_run_side_by_side_and_join(flow: Flow) -> None:
    run = await flow.run(
        [
            {
                "id": "both",
                "parallel": [put(side, f"meet-{side}") for side in ("left", "right", "up", "down")],
            },
            put("after", "of-${steps.left.result.name}-${steps.right.result.name}"),
        ]
    )
    assert run.state == "done", run.problem
    assert samples.DONE[-1] == "put of-meet-left-meet-right"


async def test_what_may_pass_is_tried_again_with_growing_pauses(flow: Flow) -> None:
    samples.FAILS["shelf"] = 2
    run = await flow.run([put("shelf", retry={"times": 2, "wait": "0.01 s"})])
    assert run.state == "done", run.problem
    assert samples.DONE == ["fail shelf", "fail shelf", "put shelf"]
    samples.DONE.clear()
    samples.FAILS["shelf"] = 3
    run = await flow.start()
    assert (run.state, samples.DONE) == ("failed", ["fail shelf"] * 3)


async def test_what_nobody_can_look_up_is_never_tried_again_by_itself(flow: Flow) -> None:
    throw = {"id": "throw", "tool": "flow_throw", "with": {"name": "stall"}}
    run = await flow.run([{**throw, "retry": {"times": 3, "wait": "0.01 s"}}])
    assert (run.state, samples.DONE) == ("failed", ["throw stall"])
    assert (await flow.steps(run.id))["throw"].state == "unknown"
    with pytest.raises(Conflict, match="Nobody knows whether throw took effect"):
        await flow.use("workflows_resume", run=run.id)
    again = await flow.use("workflows_resume", run=run.id, again=True)
    await flow.work(again.run.id)
    assert samples.DONE == ["throw stall", "throw stall"]


async def test_a_failure_stops_cleans_up_and_comes_to_finally(flow: Flow) -> None:
    run = await flow.run(
        [
            put("first"),
            {
                "id": "throw",
                "tool": "flow_throw",
                "with": {"name": "away"},
                "clean_up": [put("undo", when="steps.throw.state == 'failed'")],
            },
            put("never"),
        ],
        **{"finally": [put("last", when="run.state == 'failed'")]},
    )
    assert run.state == "failed"
    assert run.problem == "throw: It does not answer."
    assert samples.DONE == ["put first", "throw away", "put undo", "put last"]


async def test_a_step_may_fail_and_the_rest_goes_on(flow: Flow) -> None:
    throw = {"id": "throw", "tool": "flow_throw", "with": {"name": "away"}}
    run = await flow.run(
        [
            {**throw, "on_failure": "continue"},
            put("told", when="not steps.throw.ok"),
        ]
    )
    assert (run.state, samples.DONE) == ("done", ["throw away", "put told"])


async def test_a_step_that_takes_too_long_is_stopped(flow: Flow) -> None:
    run = await flow.run([put("hang", timeout="0.4 s", retry={"times": 1, "wait": "0.01 s"})])
    assert (run.state, samples.DONE) == ("failed", ["hang", "hang"])
    assert "took over 0.4 s" in run.problem


async def test_a_failed_run_goes_on_at_the_step_that_failed(flow: Flow) -> None:
    samples.FAILS["second"] = 1
    quick = {"times": 1, "wait": "0.01 s"}
    samples.FAILS["second"] = 2
    run = await flow.run([put("first"), put("second", retry=quick), put("third")])
    assert run.state == "failed"
    assert samples.DONE == ["put first", "fail second", "fail second"]
    await flow.use("workflows_resume", run=run.id)
    run = await flow.work(run.id)
    assert run.state == "done"
    assert samples.DONE[3:] == ["put second", "put third"]
    with pytest.raises(Conflict, match="it is done"):
        await flow.use("workflows_resume", run=run.id)


async def test_a_dry_run_looks_and_does_nothing(flow: Flow) -> None:
    await flow.save(
        [LOOK, put("note", "${steps.disk.result.disks[0].name}"), put("on", "${steps.note.state}")]
    )
    run = await flow.start(dry_run=True)
    assert (run.state, samples.DONE) == ("done", ["look all"])
    steps = await flow.steps(run.id)
    assert steps["note"].arguments == {"name": "sda"}
    assert "dry run" in steps["note"].problem


async def test_a_run_ends_when_its_minutes_are_used_up(flow: Flow) -> None:
    slow = put("hang", timeout="0.3 s", on_failure="continue", retry={"times": 1, "wait": "1 s"})
    steps = [{"id": "both", "parallel": [slow]}, put("never")]
    run = await flow.run(steps, minutes=0.004, **{"finally": [put("last")]})
    assert (run.state, samples.DONE[-1]) == ("failed", "put last")
    assert "minutes are used up" in run.problem
    assert "put never" not in samples.DONE


@given(st.data())
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_any_graph_runs_each_step_once_and_after_what_it_needs(
    flow: Flow, data: st.DataObject
) -> None:
    samples.DONE.clear()
    size = data.draw(st.integers(1, 6))
    steps: list[dict[str, Any]] = []
    for at in range(size):
        before = [f"s{each}" for each in range(at)]
        needs = data.draw(st.lists(st.sampled_from(before), unique=True, max_size=3)) if at else []
        steps.append(put(f"s{at}", needs=needs))
    spec = {"name": f"graph-{len(FLOWN)}", "steps": data.draw(st.permutations(steps))}
    FLOWN.append(spec["name"])
    made = await flow.use("workflows_create", spec=spec)
    begun = await flow.use("workflows_run", workflow=made.workflow.id)
    run = await flow.work(begun.run.id)
    assert run.state == "done", run.problem
    order = [each.removeprefix("put ") for each in samples.DONE]
    assert sorted(order) == sorted(f"s{at}" for at in range(size))
    for step in steps:
        assert all(order.index(need) < order.index(step["id"]) for need in step["needs"])


FLOWN: list[Any] = []
