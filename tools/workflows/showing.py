"""Puts a workflow together for a person: definition, picture, runs and steps."""

from collections.abc import Sequence

from nebula.auth.principal import Principal
from nebula.errors import NotFound
from nebula.tool.diagram import BoxState
from tools.workflows.diagram import draw
from tools.workflows.reading import read
from tools.workflows.runs import Runs
from tools.workflows.schemas import Run, StepRun, WorkflowDetail
from tools.workflows.service import Workflows
from tools.workflows.spec import Spec, Step

_LAST = 10
# Of several rounds or tries, the one that most needs to be seen.
_WEIGHT: dict[BoxState, int] = {
    "idle": 0,
    "skipped": 1,
    "done": 2,
    "cancelled": 3,
    "failed": 4,
    "unknown": 5,
    "running": 6,
    "waiting": 7,
}


async def detail(
    workflows: Workflows, runs: Runs, who: Principal, workflow: str, run: str = ""
) -> WorkflowDetail:
    """Return everything about a workflow, or about one run of it.

    Raises:
        NotFound: when there is no such workflow, or no such run of it.
    """
    row = await workflows.get(who, workflow)
    spec, _ = read(row.definition)
    listed = await runs.list(who, row.id, limit=_LAST if run in {"", "last"} else 200)
    chosen, steps = None, list[StepRun]()
    if run:
        chosen = next((each for each in listed if run in {each.id, "last"}), None)
        if chosen is None:
            raise NotFound(f"{row.name} has no run {run!r}", hint="See workflows_list_runs.")
        steps = await runs.steps(chosen.id)
        spec, _ = read(await runs.definition(chosen.id))
    title = f"{spec.name}, {chosen.state}" if chosen is not None else spec.name
    return WorkflowDetail(
        workflow=await workflows.shown(row, listed[0].state if listed else ""),
        definition=row.definition,
        diagram=draw(spec, states_of(spec, steps, chosen), title=title),
        runs=listed[:_LAST],
        run=chosen,
        steps=steps,
    )


def states_of(spec: Spec, steps: Sequence[StepRun], run: Run | None) -> dict[str, BoxState]:
    """Return how each step of a run stands; a block stands as the steps in it do."""
    states: dict[str, BoxState] = {}
    latest = {step.path: step for step in steps}
    for each in latest.values():
        before = states.get(each.step, "idle")
        if _WEIGHT[each.state] >= _WEIGHT[before]:
            states[each.step] = each.state
    over = run is not None and run.state in {"done", "failed", "cancelled"}
    for _, step in reversed(list(spec.every_step())):
        if step.block is not None and step.id not in states:
            states[step.id] = _of_block(step, states, over=over)
    return states


def _of_block(step: Step, states: dict[str, BoxState], *, over: bool) -> BoxState:
    inner: list[BoxState] = [states.get(each.id, "idle") for each in step.block or ()]
    worst: BoxState = max(inner, key=_WEIGHT.__getitem__, default="idle")
    if worst == "done" and "idle" in inner and not over:
        return "running"
    return worst
