"""What a person's calls have used up today: how many, and how much money, by limit."""

from collections.abc import Collection, Sequence
from decimal import Decimal

from sqlalchemy import text

from nebula.db.bare import Statements
from nebula.policy.ask import Used
from nebula.policy.rules import Limit, named
from nebula.tool.definition import AnyTool

# Held until the transaction ends: of two calls at once, the second counts the first.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 7))")
_COUNT = text(
    "SELECT concat_ws(' ', count(*), coalesce(sum(cost), 0)) FROM tool_calls"
    " WHERE principal_id = :principal AND tool = ANY(:tools)"
    " AND state IN ('running', 'succeeded', 'unknown')"
    " AND started_at >= date_trunc('day', clock_timestamp(), 'UTC')"
)


async def used_today(
    statements: Statements,
    principal_id: str,
    limits: Sequence[Limit],
    tools: Collection[AnyTool],
    *,
    lock: bool = False,
) -> Used:
    """Count a person's calls of this UTC day under each limit; failed ones used nothing up.

    `lock` lets calls under the same limit begin one after the other, within a transaction.
    """
    calls: dict[str, int] = {}
    money: dict[str, Decimal] = {}
    for limit in sorted(limits, key=lambda each: each.name):
        if lock:
            await statements.scalar(_LOCK, {"key": f"{principal_id}:{limit.name}"})
        names = [tool.name for tool in tools if named(limit.tools, tool)]
        found = await statements.scalar(_COUNT, {"principal": principal_id, "tools": names})
        count, spent = str(found).split()
        calls[limit.name], money[limit.name] = int(count), Decimal(spent)
    return Used(calls, money)
