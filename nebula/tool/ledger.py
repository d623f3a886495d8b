"""The record of calls with effects: begun before they run, ended once, told again on replay."""

from decimal import Decimal
from typing import Any

from pydantic import BaseModel
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.db.bare import Statements
from nebula.db.documents import storable_json
from nebula.db.engine import Database
from nebula.errors import Conflict, NebulaError, OutcomeUnknown, StillRunning, StoredError
from nebula.tool.definition import AnyTool, EffectKind
from nebula.tool.models import ToolCall
from nebula.tool.result import Result

_GRACE_SECONDS = 10
"""How long after its time-out a call may still be writing its end."""

_BEGIN = text(
    """
    INSERT INTO tool_calls AS known (
        principal_id, call_id, tool, arguments_sha256, session_id, cost, state, deadline, result,
        finished_at
    ) VALUES (
        :principal_id, :call_id, :tool, :arguments_sha256, :session_id,
        CAST(:cost AS numeric), CAST(:state AS text),
        clock_timestamp() + make_interval(secs => :seconds), CAST(:result AS jsonb),
        CASE WHEN CAST(:state AS text) = 'succeeded' THEN clock_timestamp() END
    )
    ON CONFLICT (principal_id, call_id) DO UPDATE SET
        state = EXCLUDED.state, deadline = EXCLUDED.deadline, result = EXCLUDED.result,
        finished_at = EXCLUDED.finished_at
    WHERE known.tool = EXCLUDED.tool AND known.arguments_sha256 = EXCLUDED.arguments_sha256 AND (
        known.state = 'waiting'
        OR CAST(:repeatable AS boolean) AND known.state = 'running'
        AND known.deadline < clock_timestamp()
    )
    RETURNING call_id
    """
)


class CallKey(BaseModel, frozen=True):
    """What makes two calls the same call."""

    principal_id: str
    call_id: str
    arguments_sha256: str


class Ledger:
    """Remembers calls with effects."""

    def __init__(self, db: Database) -> None:
        """Take the database that holds the record."""
        self._db = db

    async def replay(
        self, tool: AnyTool, key: CallKey, answer: type[Result] | None = None
    ) -> Result | None:
        """Return the stored result of a call that ran, or None when it may run now.

        `answer` is what was stored, where that is not the tool's own result.

        Raises:
            StoredError: when it ran and failed.
            Conflict: when the id belongs to another call, the call is running, or its result was
                shown once.
            OutcomeUnknown: when it broke off in the middle and cannot be repeated safely.
        """
        async with self._db.session() as session:
            row = await session.get(ToolCall, (key.principal_id, key.call_id))
            if row is None:
                return None
            if (row.tool, row.arguments_sha256) != (tool.name, key.arguments_sha256):
                raise Conflict(
                    "This call id was used for another call.", hint="Use a new id for a new call."
                )
            now = (await session.execute(select(func.clock_timestamp()))).scalar_one()
            overdue = row.deadline < now
        return _told_again(tool, row, answer or tool.output_model, overdue=overdue)

    async def begin(
        self,
        statements: Statements,
        tool: AnyTool,
        key: CallKey,
        session_id: str | None,
        *,
        cost: Decimal = Decimal(0),
        done: Result | None = None,
    ) -> bool:
        """Record that a call starts; of several at once, one is told True.

        A call that is done within this transaction is recorded as ended, with its result. One
        that waited for an approval may start; one that broke off may start again where its kind
        of effect allows that.
        """
        values = {
            **key.model_dump(),
            "tool": tool.name,
            "session_id": session_id,
            "cost": cost or None,
            "seconds": tool.timeout + _GRACE_SECONDS,
            "state": "running" if done is None else "succeeded",
            "result": None if done is None else storable_json(_kept(done)),
            "repeatable": tool.kind is not EffectKind.OPAQUE,
        }
        return await statements.scalar(_BEGIN, values) is not None

    async def end(
        self,
        session: AsyncSession,
        key: CallKey,
        *,
        state: str,
        result: Result | None = None,
        error: dict[str, Any] | None = None,
    ) -> None:
        """Record how a call ended; a later word never changes an ended one."""
        await session.execute(
            update(ToolCall)
            .where(
                ToolCall.principal_id == key.principal_id,
                ToolCall.call_id == key.call_id,
                ToolCall.state == "running",
            )
            .values(
                state=state,
                result=None if result is None else _kept(result),
                error=error,
                finished_at=func.clock_timestamp(),
            )
        )


def _kept(result: Result) -> dict[str, Any]:
    """Return what the record holds of a result: all but what is shown once."""
    return result.model_dump(mode="json", exclude=set(result.shown_once()))


def _whole(answer: type[Result], kept: dict[str, Any] | None) -> Result:
    for name, mark in answer.shown_once().items():
        if name not in (kept or {}):
            raise Conflict(
                f"This call has run; its {name} was shown once and is not kept.", hint=mark.hint
            )
    return answer.model_validate(kept)


def _told_again(
    tool: AnyTool, row: ToolCall, answer: type[Result], *, overdue: bool
) -> Result | None:
    match row.state:
        case "succeeded":
            return _whole(answer, row.result)
        case "failed":
            raise StoredError(row.error or NebulaError().payload())
        case "waiting":
            return None
        case "running" if not overdue:
            raise StillRunning(hint="Wait for it to end.")
        case "running" if tool.kind is not EffectKind.OPAQUE:
            return None
        case _:
            raise OutcomeUnknown(
                f"{tool.name} broke off in the middle; nobody knows whether it took effect.",
                hint="Look at the present state before you ask for it again.",
            )
