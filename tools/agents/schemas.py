"""What the agents tools return."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from nebula.events.triggers import Trigger
from nebula.policy.labels import Label
from nebula.tool.render import escape
from nebula.tool.result import Block, Markdown, Result, Table
from tools.agents.spec import Limits

RunState = Literal[
    "queued", "running", "waiting", "done", "failed", "stopped", "cancelled", "skipped"
]


class Agent(BaseModel):
    """An agent as its owner sees it."""

    id: str
    name: str
    owner_name: str
    purpose: str
    features: list[str]
    tools: list[str]
    tier: str
    limits: Limits
    overlap: str
    when: str
    """In words: its cron expression with zone, its event, or that it is started by hand."""
    trigger: Trigger | None
    next_run_at: datetime | None = None
    report_to: str | None
    report_when: str
    rights: list[str]
    """What it may do at most, whatever its owner gains later."""
    enabled: bool
    stopped_because: str
    failures: int
    not_before: datetime | None


class ReadyAgent(BaseModel):
    """A ready-made agent that `agents_create` takes by its name."""

    name: str
    purpose: str
    features: list[str]
    tools: list[str]
    when: str


class AgentList(Result):
    """The agents there are, and those that can be had."""

    agents: list[Agent]
    ready: list[ReadyAgent] = Field(default_factory=list)

    def render(self) -> Sequence[Block]:
        """Show one table of each."""
        blocks: list[Block] = [
            Table(
                title="Agents",
                columns=["Agent", "State", "When", "Next", "May use", "Reports to"],
                rows=[_agent_row(agent) for agent in self.agents],
            )
            if self.agents
            else Markdown(text="There are no agents yet.")
        ]
        if self.ready:
            rows = [[each.name, each.when, _short(each.purpose)] for each in self.ready]
            blocks.append(
                Table(title="Ready-made", columns=["Agent", "When", "Purpose"], rows=rows)
            )
        return blocks


class AgentChange(Result):
    """What became of an agent."""

    agent: Agent
    done: str

    def render(self) -> Sequence[Block]:
        """Say it, with what the agent is and may do."""
        agent = self.agent
        may = ", ".join([*agent.features, *agent.tools])
        lines = [
            f"The agent **{escape(agent.name)}** {escape(self.done)}.",
            f"- Purpose: {escape(agent.purpose)}",
            f"- When: {escape(agent.when)}",
            f"- May use: {escape(may)}",
            f"- Reports to: {escape(agent.report_to or 'its conversation')}",
        ]
        return [Markdown(text="\n".join(lines))]


class AgentDeleted(Result):
    """An agent that is gone."""

    name: str
    runs: int

    def render(self) -> Sequence[Block]:
        """Say it in a sentence."""
        said = f"The agent **{escape(self.name)}** is deleted, with the record of {self.runs} runs."
        return [Markdown(text=f"{said} The conversations of its runs stay.")]


class Effect(BaseModel):
    """One thing that a run did, or would do."""

    tool: str
    arguments: dict[str, Any]
    status: str


class Handed(BaseModel):
    """What one agent hands to another: its report, or why there is none."""

    agent: str
    state: str
    text: str
    labels: list[Label]
    """Where it comes from."""


class Run(BaseModel):
    """One run of an agent."""

    id: str
    agent: str
    state: RunState
    started_by: str
    dry_run: bool
    session_id: str | None
    """The conversation it takes place in; None until it begins."""
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float
    model_calls: int
    tokens: int
    did: list[Effect]
    report: str
    problem: str
    told: str


class RunHandle(Result):
    """A run that was asked for; it goes on by itself."""

    run: Run

    def render(self) -> Sequence[Block]:
        """Say where to look."""
        run = self.run
        name = escape(run.agent)
        if run.state == "skipped":
            return [Markdown(text=f"**{name}** was not started: {escape(run.problem)}")]
        kind = "A dry run" if run.dry_run else "A run"
        said = f"{kind} of **{name}** is {run.state} ({escape(run.id)})."
        return [Markdown(text=f"{said} Its conversation is in your list; say `agent runs`.")]


class RunList(Result):
    """Runs, newest first."""

    runs: list[Run]

    def render(self) -> Sequence[Block]:
        """Show a table, and the whole report when there is one run only."""
        if not self.runs:
            return [Markdown(text="There are no runs.")]
        columns = ["Agent", "State", "Started", "By", "Took", "Tokens", "Did", "Report"]
        blocks: list[Block] = [
            Table(title="Runs", columns=columns, rows=[_run_row(run) for run in self.runs])
        ]
        if len(self.runs) == 1 and self.runs[0].report:
            blocks.append(Markdown(text=escape(self.runs[0].report)))
        return blocks


def _agent_row(agent: Agent) -> list[str]:
    state = "on" if agent.enabled else f"off: {agent.stopped_because}"
    if agent.enabled and agent.failures:
        state = f"on, {agent.failures} failed"
    coming = agent.next_run_at.strftime("%Y-%m-%d %H:%M UTC") if agent.next_run_at else "–"
    may = ", ".join([*agent.features, *agent.tools])
    return [agent.name, state, agent.when, coming, may, agent.report_to or "–"]


def _run_row(run: Run) -> list[str]:
    state = f"{run.state} (dry run)" if run.dry_run else run.state
    started = (run.started_at or run.created_at).strftime("%Y-%m-%d %H:%M")
    did = ", ".join(each.tool for each in run.did) or "–"
    said = run.problem or _short(run.report) or "–"
    took = f"{run.seconds:.1f} s" if run.started_at else "–"
    return [run.agent, state, started, run.started_by, took, f"{run.tokens:,}", did, said]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 120 else f"{line[:119]}…"
