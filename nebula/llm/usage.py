"""Records what model calls cost, behind the turn's back."""

from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from pydantic import BaseModel
from sqlalchemy import Table, func, insert, select

from nebula.errors import NebulaError
from nebula.llm.metrics import observe
from nebula.llm.models import LlmCall

if TYPE_CHECKING:
    from nebula.db.engine import Database

_MOST_WAITING = 10_000
_INSERT = insert(cast(Table, LlmCall.__table__))


class CallRecord(BaseModel):
    """One attempt at one model; times in seconds."""

    at: datetime
    provider: str
    model: str
    tier: str
    outcome: str
    principal_id: str | None = None
    session_id: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    first_token_seconds: float | None = None
    seconds: float = 0.0


class UsageTotal(BaseModel):
    """What one model was asked; tokens where the provider counted them."""

    provider: str
    model: str
    calls: int
    failures: int
    input_tokens: int
    output_tokens: int
    mean_seconds: float


class Usage:
    """Keeps records in memory until the router's background work writes them."""

    def __init__(self, db: "Database") -> None:
        """Take where they are kept."""
        self._db = db
        self._waiting: deque[CallRecord] = deque(maxlen=_MOST_WAITING)

    def record(self, call: CallRecord) -> None:
        """Note a call; costs nothing now."""
        observe(call)
        self._waiting.append(call)

    async def flush(self) -> None:
        """Write what is waiting; on failure it waits for the next time.

        Raises:
            UpstreamUnavailable: when the database does not answer.
        """
        batch = list(self._waiting)
        if not batch:
            return
        self._waiting.clear()
        try:
            async with self._db.session() as session:
                await session.execute(_INSERT, [call.model_dump() for call in batch])
        except NebulaError:
            self._waiting.extendleft(reversed(batch))
            raise

    async def totals(
        self, since: datetime | None = None, *, session_id: str | None = None
    ) -> list[UsageTotal]:
        """Sum the calls per model, most calls first."""
        await self.flush()
        query = (
            select(
                LlmCall.provider,
                LlmCall.model,
                func.count().label("calls"),
                func.count().filter(LlmCall.outcome != "ok").label("failures"),
                func.coalesce(func.sum(LlmCall.input_tokens), 0).label("input_tokens"),
                func.coalesce(func.sum(LlmCall.output_tokens), 0).label("output_tokens"),
                func.avg(LlmCall.seconds).label("mean_seconds"),
            )
            .group_by(LlmCall.provider, LlmCall.model)
            .order_by(func.count().desc(), LlmCall.model)
        )
        if since is not None:
            query = query.where(LlmCall.at >= since)
        if session_id is not None:
            query = query.where(LlmCall.session_id == session_id)
        async with self._db.session() as session:
            rows = (await session.execute(query)).mappings().all()
        return [UsageTotal.model_validate(dict(row)) for row in rows]


def now() -> datetime:
    """Return the time of a record."""
    return datetime.now(UTC)
