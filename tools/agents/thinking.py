"""Whether anybody thinks for an agent: a model, or nobody where its purpose is one plain command."""

from typing import TYPE_CHECKING

from nebula.errors import NoModel
from tools.agents.models import AgentRow

if TYPE_CHECKING:
    from nebula.app import Parts


async def check_thinks(parts: "Parts", agent: AgentRow, task: str) -> None:
    """Return when a run of an agent can be thought about now.

    Raises:
        NoModel: when there is no model of its tier, and it needs one.
    """
    if await parts.router.candidates(agent.tier):
        return
    mine = [
        tool
        for tool in parts.registry
        if tool.feature in agent.features or tool.name in agent.tools
    ]
    said = purpose_of(agent, task)
    if parts.commands.match_exact(said, mine) is None:
        raise NoModel("No language model is connected, and the purpose is no plain command.")


def purpose_of(agent: AgentRow, task: str) -> str:
    """Return all that an agent is told of a run in its owner's words."""
    return "\n\n".join(part for part in (agent.purpose, task) if part)
