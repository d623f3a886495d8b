"""Reports to a channel: each is sent at most once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from nebula.markup.neutral import neutral
from nebula.policy.labels import Label, tainted
from tools.agents.models import AgentRow, AgentRunRow

if TYPE_CHECKING:
    from nebula.app import Parts

_LONGEST = 3_500
"""Characters of a message; the conversation has all of it."""
_TEMPLATES = {"done": "info", "waiting": "warning"}


async def take(parts: "Parts", limit: int = 5) -> Sequence[tuple[AgentRow, AgentRunRow]]:
    """Take up reports that are due; nobody else gets them."""
    due = (
        select(AgentRunRow)
        .where(AgentRunRow.to_tell)
        .order_by(AgentRunRow.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    async with parts.db.session() as session:
        taken = []
        for run in await session.scalars(due):
            run.to_tell, run.told = False, "It is being sent."
            agent = await session.get(AgentRow, run.agent_id)
            assert agent is not None
            taken.append((agent, run))
        await session.flush()
        for agent, run in taken:
            await session.refresh(agent)
            await session.refresh(run)
    return taken


async def note(parts: "Parts", run_id: str, told: str) -> None:
    """Write down what became of a report."""
    said = update(AgentRunRow).where(AgentRunRow.id == run_id).values(told=told[:500])
    async with parts.db.session() as session:
        await session.execute(said)


def message_of(agent: AgentRow, run: AgentRunRow) -> dict[str, str]:
    """Return title, message and template of a report."""
    said = run.report
    if run.state == "waiting":
        said = f"It waits for your decision: {run.problem} Look into your open questions."
    elif run.problem:
        said = f"{run.problem}\n\n{run.report}".strip()
    if not agent.enabled:
        said = f"{said}\n\nThe agent is switched off: {agent.stopped_because}"
    if tainted(frozenset(map(Label, run.labels))):
        said = neutral(said)
    if len(said) > _LONGEST:
        said = f"{said[:_LONGEST]}… (the rest is in its conversation)"
    return {
        "title": f"{agent.name}: {run.state}",
        "message": said or "It ended without a word.",
        "template": _TEMPLATES.get(run.state, "alert"),
    }
