"""What was used, and what it cost."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import Field

from nebula.errors import PermissionDenied
from nebula.tool.context import Context
from nebula.tool.definition import Effect, tool
from tools.agents.schemas import RunList
from tools.jarvis.schemas_usage import AgentUse, UsageReport
from tools.jarvis.usage import Used


@tool(
    effect=Effect.READ,
    rest="GET /jarvis/usage",
    says=[
        "[show|list] [me] [the] (usage|costs) [of the last {days} days]",
        "what did [all of] (this|it|everything) cost [in the last {days} days]",
    ],
    examples=[
        "what did this week cost",
        "how many tokens did each agent use",
        "how many GPU hours were used in the last 30 days",
        "which tool costs the most",
    ],
)
async def jarvis_usage(
    ctx: Context,
    days: Annotated[int, Field(ge=1, le=90, description="How many days to look back")] = 7,
) -> UsageReport:
    """Show what was used and what it cost: by day, model, agent, tool, and hours of the GPUs.

    Everybody sees their own; administrators see the whole installation's.
    """
    since = datetime.now(UTC) - timedelta(days=days)
    await ctx.parts.router.usage.flush()
    used = Used(ctx.parts.db, ctx.principal, since)
    by_day, by_model = await used.days(), await used.models()
    by_tool, by_gpu = await used.tools(), await used.gpus()
    tokens = sum(each.input_tokens + each.output_tokens for each in by_model)
    cost = sum((each.cost for each in by_tool), Decimal(0))
    hours = sum(each.hours for each in by_gpu)
    calls = sum(each.calls for each in by_model)
    return UsageReport(
        days=days,
        by_day=by_day,
        by_model=by_model,
        by_agent=await _agents(ctx, since),
        by_tool=by_tool,
        by_gpu=by_gpu,
        tokens=tokens,
        cost=cost,
        gpu_hours=hours,
        summary=f"In the last {days} days: {calls:,} calls of models with {tokens:,} tokens, "
        f"{hours:.1f} hours of graphics memory, and costs of {cost:.2f}.",
    )


async def _agents(ctx: Context, since: datetime) -> Sequence[AgentUse]:
    """Return what agents used, the most first; nothing for who may not see agents."""
    try:
        listed = await ctx.calls.call_by_name("agents_list_runs", {"limit": 200})
    except PermissionDenied:
        return []
    assert isinstance(listed, RunList)
    runs = [run for run in listed.runs if run.started_at is not None and run.started_at >= since]
    found = [
        AgentUse(
            agent=name,
            runs=sum(run.agent == name for run in runs),
            tokens=sum(run.tokens for run in runs if run.agent == name),
            seconds=sum(run.seconds for run in runs if run.agent == name),
        )
        for name in {run.agent for run in runs}
    ]
    return sorted(found, key=lambda each: (-each.tokens, each.agent))
