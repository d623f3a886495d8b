"""What the agents tools return."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, Field

from nebula.events.triggers import Trigger
from nebula.markup.words import counted
from nebula.notice import Notice
from nebula.policy.labels import Label
from nebula.tool.render import escape
from nebula.tool.result import Block, Live, Markdown, Result, Table
from tools.agents.spec import Limits

RunState = Literal[
    "queued", "running", "waiting", "done", "failed", "stopped", "cancelled", "skipped"
]


class LastRun(BaseModel):
    """An agent's latest run in short; what it said is with its runs."""

    id: str
    state: RunState
    code: str = ""
    dry_run: bool
    session_id: str | None
    created_at: datetime
    ended_at: datetime | None


class Used(BaseModel):
    """What an agent has used in 24 hours."""

    runs: int = 0
    tokens: int = 0
    money: Decimal = Decimal(0)


class Agent(BaseModel):
    """An agent as its owner sees it."""

    id: str
    name: str
    owner_id: str
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
    cron: str | None = None
    timezone: str = "UTC"
    every_minutes: int | None = None
    next_run_at: datetime | None = None
    next_runs: list[datetime] = Field(default_factory=list)
    """The next times of its schedule, up to three; none while it is switched off."""
    last_run: LastRun | None = None
    used: Used = Used()
    report_to: str | None
    report_when: str
    rights: list[str]
    """What it may do at most, whatever its owner gains later."""
    enabled: bool
    stopped_because: str
    failures: int
    not_before: datetime | None
    notice: Notice | None = None
    """That it does not run by itself any more, and what sets it going again."""


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
        """Show one table of each, or the list that keeps itself up to date."""
        blocks: list[Block] = [
            Table(
                title="Agents",
                columns=["Agent", "State", "When", "Next", "Last run", "May use", "Reports to"],
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
        on = sum(agent.enabled for agent in self.agents)
        said = (
            f"{counted(len(self.agents), 'agent')}, {on} of them switched on."
            if self.agents
            else ""
        )
        return [Live(view="agents", text=said or "There are no agents yet.", blocks=blocks)]


class AgentShown(Result):
    """One agent, whole."""

    agent: Agent

    def render(self) -> Sequence[Block]:
        """Show what it is, may do and has done lately."""
        agent = self.agent
        return [Live(view="agent", of=agent.id, blocks=[Markdown(text=_card(agent))])]


class AgentForm(Result):
    """The form in which an agent is made or changed, for doors that have one."""

    agent: Agent | None

    def render(self) -> Sequence[Block]:
        """Show the form, or say how to do without."""
        if self.agent is None:
            way = "/agents_create name=… purpose=… features=[…] cron=… timezone=…"
        else:
            way = f"/agents_update agent={self.agent.name} purpose=… limits=…"
        said = f"Say what it shall do and when, or be exact: `{way}`"
        of = "" if self.agent is None else self.agent.id
        return [Live(view="agent-form", of=of, blocks=[Markdown(text=said)])]


class AgentChange(Result):
    """What became of an agent."""

    agent: Agent
    done: str

    def render(self) -> Sequence[Block]:
        """Say it, with what the agent is and may do."""
        agent = self.agent
        said = f"The agent **{escape(agent.name)}** {escape(self.done)}."
        card = Markdown(text=f"{said}\n{_card(agent)}")
        return [Live(view="agent", of=agent.id, text=said, blocks=[card])]


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
    agent_id: str
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
    money: Decimal = Decimal(0)
    """What its calls have cost, in the operator's currency."""
    did: list[Effect]
    report: str
    problem: str
    code: str = ""
    """Why it did not do what it should, where its owner can do something about it."""
    hint: str = ""
    """What that is."""
    told: str


class RunHandle(Result):
    """A run that was asked for; it goes on by itself."""

    run: Run

    def render(self) -> Sequence[Block]:
        """Say where to look."""
        run = self.run
        name = escape(run.agent)
        if run.state == "skipped":
            said = f"**{name}** was not started: {escape(run.problem)} {escape(run.hint)}"
            return [Markdown(text=said.strip())]
        kind = "A dry run" if run.dry_run else "A run"
        said = f"{kind} of **{name}** is {run.state} ({escape(run.id)})."
        where = Markdown(text=f"{said} Its conversation is in your list; say `agent runs`.")
        return [Live(view="agent-runs", of=run.id, blocks=[where])]


class RunList(Result):
    """Runs, newest first."""

    runs: list[Run]
    agent: str = ""
    """The id of the agent whose runs these are; empty for all."""

    def render(self) -> Sequence[Block]:
        """Show a table, and the whole report when there is one run only."""
        if not self.runs:
            return [Markdown(text="There are no runs.")]
        return [Live(view="agent-runs", of=self.agent, blocks=self._blocks())]

    def _blocks(self) -> list[Block]:
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
    last = agent.last_run.state if agent.last_run else "–"
    return [agent.name, state, agent.when, coming, last, may, agent.report_to or "–"]


def _card(agent: Agent) -> str:
    may = ", ".join([*agent.features, *agent.tools])
    times = ", ".join(f"{each:%Y-%m-%d %H:%M} UTC" for each in agent.next_runs)
    last = agent.last_run
    used, limits = agent.used, agent.limits
    lines = [
        f"- Purpose: {escape(agent.purpose)}",
        f"- When: {escape(agent.when)}",
        *([f"- Next: {times}"] if times else []),
        *([] if agent.enabled else [f"- Switched off: {escape(agent.stopped_because)}"]),
        *([f"- What to do: {escape(agent.notice.step)}"] if agent.notice else []),
        f"- May use: {escape(may)}",
        f"- Used in 24 hours: {used.runs} of {limits.runs_per_day} runs, {used.tokens:,} tokens",
        *([f"- Last run: {last.state}"] if last else []),
        f"- Reports to: {escape(agent.report_to or 'its conversation')}",
    ]
    return "\n".join(lines)


def _run_row(run: Run) -> list[str]:
    state = f"{run.state} (dry run)" if run.dry_run else run.state
    started = (run.started_at or run.created_at).strftime("%Y-%m-%d %H:%M")
    did = ", ".join(each.tool for each in run.did) or "–"
    said = f"{run.problem} {run.hint}".strip() or _short(run.report) or "–"
    took = f"{run.seconds:.1f} s" if run.started_at else "–"
    return [run.agent, state, started, run.started_by, took, f"{run.tokens:,}", did, said]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 120 else f"{line[:119]}…"
