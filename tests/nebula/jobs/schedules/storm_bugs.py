"""Tickers with a bug each, to see that the storm finds it."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.jobs.schedules import ticker as product
from nebula.jobs.schedules.models import ScheduleRow, TickRow
from nebula.jobs.schedules.schedule import Schedule, plan
from nebula.jobs.schedules.service import shown
from nebula.jobs.schedules.ticker import Outcome, Ticker


class Unlocked(Ticker):
    """Looks at what is due without locking it, and does not mind that a tick is on record."""

    async def _fire_one(self, without: Collection[str], claimed: list[str]) -> int | None:
        async with self._db.session() as session:
            now = await self._clock(session)
            row = await session.scalar(_due(now).order_by(func.random()))
            return None if row is None else await self._fire(session, row, now)

    async def _fire(self, session: AsyncSession, row: ScheduleRow, now: datetime) -> int:
        schedule, decided = shown(row), plan(shown(row), now)
        ticks = [(due, await self._launched(session, schedule, due)) for due in decided.fire]
        await _on_record(session, row.id, ticks)
        product._wait_for(row, decided.next_due)
        return len(ticks)


class Hasty(Ticker):
    """Moves a schedule on in a transaction before the one that launches."""

    async def _fire_one(self, without: Collection[str], claimed: list[str]) -> int | None:
        async with self._db.session() as session:
            now = await self._clock(session)
            row = await session.scalar(_due(now).with_for_update(skip_locked=True))
            if row is None:
                return None
            schedule, decided = shown(row), plan(shown(row), now)
            product._wait_for(row, decided.next_due)
        async with self._db.session() as session:
            ticks = [(due, await self._launched(session, schedule, due)) for due in decided.fire]
            await _on_record(session, schedule.id, ticks)
        return len(ticks)


class Apart(Ticker):
    """Launches in a transaction of its own, before the one that records the tick."""

    async def _launched(self, session: AsyncSession, schedule: Schedule, due: datetime) -> Outcome:
        async with self._db.session() as apart:
            return await super()._launched(apart, schedule, due)


TICKERS: Mapping[str, type[Ticker]] = {
    "": Ticker,
    "no row lock": Unlocked,
    "advance before the launch": Hasty,
    "launch outside of the transaction": Apart,
}


def _due(now: datetime):  # type: ignore[no-untyped-def]
    return select(ScheduleRow).where(ScheduleRow.enabled, ScheduleRow.next_fire_at <= now).limit(1)


async def _on_record(
    session: AsyncSession, schedule_id: str, ticks: Sequence[tuple[datetime, Outcome]]
) -> None:
    for due, outcome in ticks:
        row = {"schedule_id": schedule_id, "due_at": due, "state": outcome.state}
        await session.execute(insert(TickRow).values(row).on_conflict_do_nothing())
