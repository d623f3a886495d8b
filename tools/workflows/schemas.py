"""What the workflows tools return."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from nebula.markup.words import counted
from nebula.notice import Notice
from nebula.tool.diagram import Diagram
from nebula.tool.render import as_text, escape
from nebula.tool.result import Block, Live, Markdown, Result, Table

RunState = Literal["queued", "running", "waiting", "done", "failed", "cancelled", "skipped"]
StepState = Literal["running", "waiting", "done", "failed", "skipped", "unknown", "cancelled"]
_LONGEST = 200
_ENDED = {"done", "failed", "cancelled", "skipped"}


class Takes(BaseModel):
    """A value that a run is given."""

    name: str
    type: str
    description: str = ""
    default: Any = None
    required: bool = False
    choices: list[str | int | float] = Field(default_factory=list)


class Workflow(BaseModel):
    """A workflow as its owner sees it."""

    id: str
    name: str
    owner_id: str
    owner_name: str
    description: str
    version: int
    steps: int
    inputs: dict[str, str]
    """Each input with its type."""
    takes: list[Takes] = Field(default_factory=list)
    """The inputs in full, in the order in which they are declared."""
    when: str
    """In words: its cron expression with zone, its event, or that it is started by hand."""
    next_run_at: datetime | None = None
    rights: list[str]
    """What it may do at most, whatever its owner gains later."""
    enabled: bool
    stopped_because: str
    failures: int
    last_run: str = ""
    """The state of its latest run."""
    notice: Notice | None = None
    """That it does not run by itself any more, and what sets it going again."""


class ReadyWorkflow(BaseModel):
    """A ready-made workflow that `workflows_create` takes by its name."""

    name: str
    description: str
    when: str


class Run(BaseModel):
    """One run of a workflow."""

    id: str
    workflow: str
    version: int
    state: RunState
    started_by: str
    dry_run: bool
    inputs: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float
    output: dict[str, Any]
    problem: str
    cancel_requested: bool = False
    """It is being cancelled, or was: while it has not ended, its last steps run."""


class StepRun(BaseModel):
    """One try of one step of a run."""

    path: str
    step: str
    tool: str
    attempt: int
    state: StepState
    arguments: dict[str, Any]
    result: dict[str, Any] | None
    problem: str
    approval_id: str | None
    job_id: str | None
    started_at: datetime
    ended_at: datetime | None


class WorkflowList(Result):
    """The workflows there are, and those that can be had."""

    workflows: list[Workflow]
    ready: list[ReadyWorkflow] = Field(default_factory=list)

    def render(self) -> Sequence[Block]:
        """Show one table of each."""
        blocks: list[Block] = [
            Table(
                title="Workflows",
                columns=["Workflow", "State", "When", "Next", "Last run", "What it does"],
                rows=[_workflow_row(each) for each in self.workflows],
            )
            if self.workflows
            else Markdown(text="There are no workflows yet.")
        ]
        if self.ready:
            rows = [[each.name, each.when, each.description] for each in self.ready]
            columns = ["Workflow", "When", "What it does"]
            blocks.append(Table(title="Ready-made", columns=columns, rows=rows))
        on = sum(each.enabled for each in self.workflows)
        said = f"{counted(len(self.workflows), 'workflow')}, {on} of them switched on."
        text = said if self.workflows else "There are no workflows yet."
        return [Live(view="workflows", text=text, blocks=blocks)]


class WorkflowForm(Result):
    """The editor in which a workflow is written or changed, for doors that have one."""

    workflow: Workflow | None
    from_ready: str = ""

    def render(self) -> Sequence[Block]:
        """Show the editor, or say how to do without."""
        if self.workflow is None:
            way = "/workflows_create definition=…"
        else:
            way = f"/workflows_update workflow={self.workflow.name} definition=…"
        of = f"ready:{self.from_ready}" if self.from_ready else ""
        of = of if self.workflow is None else self.workflow.id
        said = f"Say what it shall do, or be exact: `{way}`"
        return [Live(view="workflow-editor", of=of, blocks=[Markdown(text=said)])]


class WorkflowDetail(Result):
    """One workflow: its definition, its picture and its last runs."""

    workflow: Workflow
    definition: str
    diagram: Diagram
    runs: list[Run]
    run: Run | None = None
    """The run that was asked for; the diagram shows how far it is."""
    steps: list[StepRun] = Field(default_factory=list)

    def render(self) -> Sequence[Block]:
        """Show what it is, the diagram, and the runs or the steps of one."""
        each = self.workflow
        lines = [f"**{escape(each.name)}** runs {escape(each.when)}."]
        if each.description:
            lines.append(escape(each.description))
        if not each.enabled:
            lines.append(f"It is switched off: {escape(each.stopped_because)}")
        if each.notice is not None:
            lines.append(escape(each.notice.step))
        shown: list[Block] = [self.diagram]
        if self.run is not None:
            shown += [_run_said(self.run), _steps_table(self.steps)]
        elif each.takes:
            shown.append(_takes_table(each.takes))
        part = _part(each.id, self.run.id if self.run is not None else "", shown)
        blocks: list[Block] = [Markdown(text="\n\n".join(lines)), part]
        if self.run is None and self.runs:
            blocks.append(_runs_table(self.runs))
        return blocks


class WorkflowChange(Result):
    """A workflow that was made or changed."""

    workflow: Workflow
    done: str
    diagram: Diagram

    def render(self) -> Sequence[Block]:
        """Say what it is now, and show it."""
        each = self.workflow
        said = f"The workflow **{escape(each.name)}** {self.done}: it runs {escape(each.when)}."
        return [Markdown(text=said), _part(each.id, "", [self.diagram])]


class WorkflowChecked(Result):
    """What was found in a definition; nothing was saved."""

    problems: list[str]
    diagram: Diagram | None = None

    def render(self) -> Sequence[Block]:
        """List the mistakes, or show what it would be."""
        if self.problems:
            lines = "\n".join(f"- {escape(each)}" for each in self.problems)
            return [Markdown(text=f"It has mistakes:\n\n{lines}")]
        blocks: list[Block] = [Markdown(text="It has no mistakes.")]
        return blocks if self.diagram is None else [*blocks, self.diagram]


class WorkflowDeleted(Result):
    """A workflow that is gone."""

    name: str
    runs: int

    def render(self) -> Sequence[Block]:
        """Say so."""
        return [Markdown(text=f"{escape(self.name)} is gone, with the record of {self.runs} runs.")]


class RunHandle(Result):
    """A run that was begun, cancelled or goes on."""

    run: Run

    def render(self) -> Sequence[Block]:
        """Say where it is; a page draws how far it is."""
        return [_part(self.run.workflow, self.run.id, [_run_said(self.run)])]


class RunList(Result):
    """Runs, newest first."""

    runs: list[Run]

    def render(self) -> Sequence[Block]:
        """Show a table."""
        return [_runs_table(self.runs) if self.runs else Markdown(text="There are no runs yet.")]


class Asked(Result):
    """A question that a person has answered with yes."""

    question: str

    def render(self) -> Sequence[Block]:
        """Say so."""
        return [Markdown(text=f"A person said yes to: {escape(self.question)}")]


def _part(workflow: str, run: str, blocks: Sequence[Block]) -> Live:
    """Return the part of a page that draws a workflow, or one run of it."""
    return Live(view="workflow", of=f"{workflow}:{run}", blocks=list(blocks))


def _workflow_row(each: Workflow) -> list[str]:
    state = "on" if each.enabled else f"off: {each.stopped_because}"
    following = as_text(each.next_run_at)
    last = each.last_run or "never"
    return [each.name, state, each.when, following, last, each.description]


def _run_said(run: Run) -> Markdown:
    said = f"The run `{run.id}` of **{escape(run.workflow)}** is {run.state}"
    said += " (a dry run)" if run.dry_run else ""
    said += f": {escape(run.problem)}" if run.problem else "."
    if run.output:
        lines = (
            f"- **{escape(name)}**: {escape(_short(value))}" for name, value in run.output.items()
        )
        said += "\n\n" + "\n".join(lines)
    return Markdown(text=said)


def _runs_table(runs: Sequence[Run]) -> Table:
    return Table(
        title="Runs",
        columns=["Run", "Workflow", "State", "Started by", "Began", "Worked", "Problem"],
        rows=[
            [
                run.id,
                run.workflow,
                f"{run.state} (dry run)" if run.dry_run else run.state,
                run.started_by,
                as_text(run.started_at or run.created_at),
                f"{run.seconds:.1f} s",
                run.problem,
            ]
            for run in runs
        ],
    )


def _takes_table(takes: Sequence[Takes]) -> Table:
    columns = ["Input", "Type", "When left out", "What it is"]
    return Table(title="Inputs", columns=columns, rows=[_takes_row(each) for each in takes])


def _takes_row(each: Takes) -> list[str]:
    left_out = "must be given" if each.required else _short(each.default)
    kind = f"{each.type}: {', '.join(map(str, each.choices))}" if each.choices else each.type
    return [each.name, kind, left_out, each.description]


def _steps_table(steps: Sequence[StepRun]) -> Table:
    return Table(
        title="Steps",
        columns=["Step", "Tool", "Try", "State", "With", "Outcome"],
        rows=[
            [
                step.path,
                step.tool,
                str(step.attempt),
                step.state,
                _short(step.arguments),
                step.problem or _short(step.result),
            ]
            for step in steps
        ],
    )


def _short(value: Any) -> str:
    text = as_text(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
