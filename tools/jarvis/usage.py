"""What was used and what it cost: model calls, calls of tools, hours of graphics cards."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Date, cast, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.principal import Principal
from nebula.gpu.leases.models import LeaseRow
from nebula.llm.models import LlmCall
from nebula.tool.models import ToolCall
from tools.jarvis.schemas_usage import DayUse, GpuUse, ModelUse, ToolUse

if TYPE_CHECKING:
    from nebula.db.engine import Database

ADMIN = "jarvis:admin"
_HOUR = 3600.0


class Used:
    """What one person has used since a moment, or everybody for who holds `jarvis:admin`."""

    def __init__(self, db: "Database", principal: Principal, since: datetime) -> None:
        """Take where it is recorded, for whom, and from when on."""
        self._db = db
        self._principal = principal
        self._since = since

    async def days(self) -> list[DayUse]:
        """Return calls of models and tokens of each day (UTC)."""
        day = cast(func.timezone("UTC", LlmCall.at), Date).label("day")
        query = select(day, *_tokens()).where(*self._models()).group_by(day).order_by(day)
        return [DayUse.model_validate(row) for row in await self._rows(query)]

    async def models(self) -> list[ModelUse]:
        """Return the same of each model, the most used first."""
        query = (
            select(
                LlmCall.provider,
                LlmCall.model,
                func.sum(LlmCall.seconds).label("seconds"),
                *_tokens(),
            )
            .where(*self._models())
            .group_by(LlmCall.provider, LlmCall.model)
            .order_by(func.count().desc(), LlmCall.provider, LlmCall.model)
        )
        return [ModelUse.model_validate(row) for row in await self._rows(query)]

    async def tools(self, most: int = 20) -> list[ToolUse]:
        """Return calls with an effect and what they cost, the most expensive first."""
        cost = func.coalesce(func.sum(ToolCall.cost), 0)
        mine = self._mine(ToolCall.principal_id)
        query = (
            select(ToolCall.tool, func.count().label("calls"), cost.label("cost"))
            .where(ToolCall.started_at >= self._since, *mine)
            .group_by(ToolCall.tool)
            .order_by(cost.desc(), func.count().desc(), ToolCall.tool)
            .limit(most)
        )
        return [ToolUse.model_validate(row) for row in await self._rows(query)]

    async def gpus(self) -> list[GpuUse]:
        """Return for how many hours graphics memory was held, by card and what for."""
        begun = func.greatest(func.coalesce(LeaseRow.started_at, LeaseRow.created_at), self._since)
        ended = func.coalesce(LeaseRow.ended_at, func.clock_timestamp())
        hours = func.sum(func.extract("epoch", ended - begun)) / _HOUR
        what = func.coalesce(LeaseRow.service, LeaseRow.klass).label("what")
        query = (
            select(LeaseRow.card, what, hours.label("hours"), func.count().label("leases"))
            .where(ended > self._since, *self._mine(LeaseRow.owner_id))
            .group_by(LeaseRow.card, what)
            .order_by(hours.desc())
        )
        return [GpuUse.model_validate(row) for row in await self._rows(query)]

    def _models(self) -> Sequence[ColumnElement[bool]]:
        return [LlmCall.at >= self._since, *self._mine(LlmCall.principal_id)]

    def _mine(self, owner: Any) -> Sequence[ColumnElement[bool]]:
        return [] if self._principal.can(ADMIN) else [owner == self._principal.id]

    async def _rows(self, query: Any) -> Sequence[Any]:
        async with self._db.session() as session:
            return await _mappings(session, query)


async def _mappings(session: AsyncSession, query: Any) -> Sequence[Any]:
    return [dict(row) for row in (await session.execute(query)).mappings()]


def _tokens() -> Sequence[ColumnElement[Any]]:
    return [
        func.count().label("calls"),
        func.count().filter(LlmCall.outcome != "ok").label("failures"),
        func.coalesce(func.sum(LlmCall.input_tokens), 0).label("input_tokens"),
        func.coalesce(func.sum(LlmCall.output_tokens), 0).label("output_tokens"),
    ]
