"""Reports to a channel: each is sent at most once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import not_, select, update

from nebula.markup.neutral import neutral
from nebula.policy.labels import Label, tainted
from tools.agents.models import AgentRow, AgentRunRow
from tools.agents.notices import hint_of, switch_on

if TYPE_CHECKING:
    from nebula.app import Parts

DISCORD = "discord:"
"""How a place of the Discord bot begins."""
_LONGEST = 3_500
"""Characters of a message; the conversation has all of it."""
_TEMPLATES = {"done": "info", "waiting": "warning", "skipped": "warning"}


async def take(
    parts: "Parts", limit: int = 5, *, on_discord: bool = False
) -> Sequence[tuple[AgentRow, AgentRunRow]]:
    """Take up reports that are due; nobody else gets them.

    `on_discord` are those that the bot shows: what reports there, and what reports nowhere but
    has to be told its owner.
    """
    there = AgentRow.report_to.is_(None) | AgentRow.report_to.startswith(DISCORD)
    due = (
        select(AgentRunRow)
        .join(AgentRow, AgentRow.id == AgentRunRow.agent_id)
        .where(AgentRunRow.to_tell, there if on_discord else not_(there))
        .order_by(AgentRunRow.created_at)
        .limit(limit)
        .with_for_update(of=AgentRunRow, skip_locked=True)
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


async def asks_elsewhere(parts: "Parts", owner_id: str) -> set[str]:
    """Return the names of somebody's agents whose questions stand where they report to."""
    mine = select(AgentRow.name).where(
        AgentRow.owner_id == owner_id, AgentRow.report_to.startswith(DISCORD)
    )
    async with parts.db.session() as session:
        return set(await session.scalars(mine))


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
        said = f"{run.problem} {hint_of(agent.name, run.code)}\n\n{run.report}".strip()
    if not agent.enabled:
        said = f"{said}\n\nThe agent is switched off: {agent.stopped_because}"
        said = f"{said}\n{switch_on(agent.name)}"
    if tainted(frozenset(map(Label, run.labels))):
        said = neutral(said)
    if len(said) > _LONGEST:
        said = f"{said[:_LONGEST]}… (the rest is in its conversation)"
    return {
        "title": f"{agent.name}: {run.state}",
        "message": said or "It ended without a word.",
        "template": _TEMPLATES.get(run.state, "alert"),
    }
