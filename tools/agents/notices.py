"""What an agent's owner should know when it does not run by itself any more. Pure."""

from nebula.errors import WITHOUT_MODEL, NoModel
from nebula.notice import Notice
from tools.agents.ending import LIMITS
from tools.agents.models import AgentRow, AgentRunRow


def notice_of(agent: AgentRow, latest: AgentRunRow | None) -> Notice | None:
    """Return what is the matter with an agent; None when nothing is, or a person paused it."""
    if not agent.enabled:
        if not agent.failures:
            return None
        return Notice(
            kind="agent",
            id=agent.id,
            name=agent.name,
            said=agent.stopped_because,
            step=switch_on(agent.name),
            tool="agents_update",
            arguments={"agent": agent.id, "action": "resume"},
        )
    if latest is None or latest.dry_run or not (step := hint_of(agent.name, latest.code)):
        return None
    if (latest.ended_at or latest.created_at) < agent.changed_at:
        return None
    return Notice(kind="agent", id=agent.id, name=agent.name, said=latest.problem, step=step)


def switch_on(name: str) -> str:
    """Return how an agent is switched on again."""
    return f"Say: resume agent {name}"


def hint_of(name: str, code: str) -> str:
    """Return what can be done about a run that did not do what it should, by its code."""
    if code == LIMITS:
        return f"It may have more: /agents_update agent={name} limits={{…}}"
    return WITHOUT_MODEL if code == NoModel.code else ""
