"""What jarvis_usage returns."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from pydantic import BaseModel, Field

from nebula.tool.render import escape
from nebula.tool.result import Block, Markdown, Result, Table


class DayUse(BaseModel):
    """Calls of models of one day (UTC)."""

    day: date
    calls: int
    failures: int
    input_tokens: int
    output_tokens: int


class ModelUse(BaseModel):
    """Calls of one model."""

    provider: str
    model: str
    calls: int
    failures: int
    input_tokens: int
    output_tokens: int
    seconds: float


class AgentUse(BaseModel):
    """Runs of one autonomous agent."""

    agent: str
    runs: int
    tokens: int
    seconds: float


class ToolUse(BaseModel):
    """Calls of one tool that had an effect, and what they cost."""

    tool: str
    calls: int
    cost: Decimal


class GpuUse(BaseModel):
    """How long a card's memory was held, and for what."""

    card: str
    what: str
    leases: int
    hours: float


class UsageReport(Result):
    """What was used of models, tools and cards."""

    days: int
    by_day: list[DayUse]
    by_model: list[ModelUse]
    by_agent: list[AgentUse] = Field(description="Of the newest 200 runs")
    by_tool: list[ToolUse]
    by_gpu: list[GpuUse]
    tokens: int
    cost: Decimal = Field(description="In the operator's currency, as tools declare it")
    gpu_hours: float
    summary: str
    """All of it in a sentence, for a message."""

    def render(self) -> Sequence[Block]:
        """Show the sentence, then a table of everything that was used."""
        blocks: list[Block] = [Markdown(text=escape(self.summary))]
        tables: list[tuple[str, list[str], list[list[str]]]] = [
            (
                "Days",
                ["Day (UTC)", "Calls", "Failed", "Tokens in", "Tokens out"],
                [[f"{d.day}", *_counts(d)] for d in self.by_day],
            ),
            (
                "Models",
                ["Model", "Calls", "Failed", "Tokens in", "Tokens out"],
                [[f"{m.provider}:{m.model}", *_counts(m)] for m in self.by_model],
            ),
            (
                "Agents",
                ["Agent", "Runs", "Tokens", "Worked"],
                [
                    [a.agent, f"{a.runs:,}", f"{a.tokens:,}", f"{a.seconds:,.0f} s"]
                    for a in self.by_agent
                ],
            ),
            (
                "Tools",
                ["Tool", "Calls", "Cost"],
                [[t.tool, f"{t.calls:,}", f"{t.cost:.2f}"] for t in self.by_tool],
            ),
            (
                "Graphics cards",
                ["Card", "For", "Leases", "Hours"],
                [[g.card, g.what, f"{g.leases:,}", f"{g.hours:.1f}"] for g in self.by_gpu],
            ),
        ]
        blocks += [
            Table(title=title, columns=columns, rows=rows)
            for title, columns, rows in tables
            if rows
        ]
        return blocks


def _counts(use: DayUse | ModelUse) -> list[str]:
    numbers = (use.calls, use.failures, use.input_tokens, use.output_tokens)
    return [f"{number:,}" for number in numbers]
