"""What the end of a turn means for its run, its agent, and whoever is told."""

import json
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text

from nebula.db.bare import Statements
from nebula.errors import NoModel
from nebula.events.bus import Events
from nebula.policy.labels import Label
from tools.agents.pacing import pause_after
from tools.agents.spec import Limits

NOTHING = "Nothing to report."
"""What an agent answers when there is no news."""
ALERTS = "alerts"
LIMITS = "limits"
"""The code of what ended, or never began, because a limit of the agent is used up."""
BLAMELESS = frozenset({NoModel.code})
"""The codes of failures that are none of the agent's own."""

_LOCK = text(
    "SELECT json_build_object('agent', row_to_json(a), 'did', r.did, 'dry_run', r.dry_run,"
    " 'session', r.session_id, 'labels', r.labels)"
    " FROM agent_runs r JOIN agents a ON a.id = r.agent_id"
    " WHERE r.id = :run AND r.state IN ('queued', 'running', 'waiting') FOR UPDATE OF a, r"
)
_END = text(
    "UPDATE agent_runs SET state = :state, seconds = seconds + :seconds,"
    " model_calls = model_calls + :model_calls, tokens = tokens + :tokens,"
    " did = CAST(:did AS jsonb), report = CASE WHEN :report = '' THEN report ELSE :report END,"
    " problem = :problem, code = :code, to_tell = :to_tell, labels = CAST(:labels AS jsonb),"
    " ended_at = CASE WHEN :state = 'waiting' THEN NULL ELSE clock_timestamp() END"
    " WHERE id = :run RETURNING id"
)
_SUCCEEDED = text(
    "UPDATE agents SET failures = 0, not_before = NULL WHERE id = :agent RETURNING id"
)
_FAILED = text(
    "UPDATE agents SET failures = :failures, enabled = enabled AND NOT :off,"
    " not_before = clock_timestamp() + make_interval(secs => :pause),"
    " stopped_because = CASE WHEN :off THEN :because ELSE stopped_because END"
    " WHERE id = :agent RETURNING id"
)


@dataclass(frozen=True)
class Ending:
    """How a stretch of a run's work ended: for good, or because a person is asked."""

    state: str
    report: str = ""
    problem: str = ""
    code: str = ""
    did: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    model_calls: int = 0
    tokens: int = 0
    labels: frozenset[Label] = frozenset()
    """Where what it read came from."""


async def settle(db: Statements, events: Events, run_id: str, ending: Ending) -> bool:
    """Write down how a run stands, in the transaction of its turn; False when it has ended before.

    A failure lets its agent wait, longer each time, and at last switches it off with an alert.
    """
    known = await db.scalar(_LOCK, {"run": run_id})
    if known is None:
        return False
    agent = known["agent"]
    # That it stands still is told its owner even when it reports nowhere.
    stands = _switches_off(agent, ending) or ending.code == LIMITS
    tells = not known["dry_run"] and (agent["report_to"] is not None or stands)
    values = {
        "run": run_id,
        "state": ending.state,
        "seconds": ending.seconds,
        "model_calls": ending.model_calls,
        "tokens": ending.tokens,
        "did": json.dumps(merged(known["did"], ending.did)),
        "report": ending.report,
        "problem": ending.problem,
        "code": ending.code,
        "labels": json.dumps(sorted({*known["labels"], *ending.labels})),
        "to_tell": tells and worth_telling(agent["report_when"], ending),
    }
    await db.scalar(_END, values)
    if not known["dry_run"]:
        await _judge(db, events, agent, ending)
    data = {"run": run_id, "agent": agent["name"], "state": ending.state}
    data["session"] = known["session"]
    await events.publish(f"agent:{agent['id']}", "agent.run", data, agent["owner_id"], session=db)
    return True


def worth_telling(report_when: str, ending: Ending) -> bool:
    """Say whether the owner wants to hear of it; what waits for them and what failed, always."""
    if ending.state == "done":
        nothing = ending.report.strip().strip("*_ ").startswith(NOTHING.rstrip("."))
        return report_when == "always" or (report_when == "news" and not nothing)
    return ending.state in {"waiting", "failed", "stopped"}


def _switches_off(agent: dict[str, Any], ending: Ending) -> bool:
    if not _counts(ending) or not agent["enabled"]:
        return False
    return int(agent["failures"]) + 1 >= Limits.model_validate(agent["limits"]).failures


def _counts(ending: Ending) -> bool:
    return ending.state in {"failed", "stopped"} and ending.code not in BLAMELESS


def merged(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return effects in order; a call that has gone on since replaces what was said of it."""
    later = {each["call_id"] for each in now}
    return [*(each for each in before if each["call_id"] not in later), *now]


async def _judge(db: Statements, events: Events, agent: dict[str, Any], ending: Ending) -> None:
    """Count failures in a row, and draw the conclusion."""
    if ending.state == "done":
        await db.scalar(_SUCCEEDED, {"agent": agent["id"]})
    if not _counts(ending):
        return
    failures, off = agent["failures"] + 1, _switches_off(agent, ending)
    because = f"It failed {failures} times in a row, last: {ending.problem}"
    values = {
        "agent": agent["id"],
        "failures": failures,
        "off": off,
        "pause": pause_after(failures).total_seconds(),
        "because": because,
    }
    await db.scalar(_FAILED, values)
    if off:
        alert = {"source": "agents", "agent": agent["name"], "problem": because}
        await events.publish(ALERTS, "alert.opened", alert, agent["owner_id"], session=db)
