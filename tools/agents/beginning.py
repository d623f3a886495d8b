"""Begins a run together with its turn: both or neither, and in one process only."""

from sqlalchemy import text

from memory.turns import Begun, Turn
from nebula.db.bare import Statements
from nebula.errors import Conflict
from nebula.events.bus import Events
from tools.agents.models import AgentRow, AgentRunRow

# The agent's row is locked first, so that two of its runs cannot begin at once.
_LOCK = text(
    "SELECT a.id FROM agents a JOIN agent_runs r ON r.agent_id = a.id"
    " WHERE r.id = :run AND (a.enabled OR r.dry_run) FOR UPDATE OF a"
)
_BEGIN = text(
    "UPDATE agent_runs r SET state = 'running', session_id = :session, turn_id = :turn,"
    " started_at = clock_timestamp() WHERE r.id = :run AND r.state = 'queued'"
    " AND NOT EXISTS (SELECT 1 FROM agent_runs o WHERE o.agent_id = r.agent_id"
    "  AND o.state IN ('running', 'waiting')) RETURNING r.id"
)


def beginning(events: Events, agent: AgentRow, run: AgentRunRow) -> Begun:
    """Return what takes a run up within the transaction that begins its turn.

    It raises Conflict when the run has begun elsewhere, so that nothing of the turn is left.
    """

    async def take_up(db: Statements, turn: Turn) -> None:
        begun = None
        if await db.scalar(_LOCK, {"run": run.id}) is not None:
            values = {"run": run.id, "turn": turn.id, "session": turn.session_id}
            begun = await db.scalar(_BEGIN, values)
        if begun is None:
            raise Conflict("This run has begun already, or may not begin.")
        data = {"run": run.id, "agent": agent.name, "state": "running", "session": turn.session_id}
        await events.publish(f"agent:{agent.id}", "agent.run", data, agent.owner_id, session=db)

    return take_up
