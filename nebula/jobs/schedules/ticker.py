"""Fires what is due. Any number of tickers may run: each tick fires once, whoever is killed when.

A tick is one transaction: the schedule's row is locked, the tick is recorded, the job is
submitted, and the next due moment is written. Either all of it happened or nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

import structlog
from psycopg import Error as DriverError
from sqlalchemy import delete, func, insert, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.db.engine import Database
from nebula.errors import InternalError, NebulaError
from nebula.jobs.schedules.models import ScheduleRow, TickRow
from nebula.jobs.schedules.schedule import Schedule, Tick, TickState, plan
from nebula.jobs.schedules.service import database_now, shown
from nebula.jobs.schedules.timing import jitter_of

_KEPT = timedelta(days=90)
_PRUNE_EVERY = 3600.0
_BACK_OFF = (1.0, 2.0, 5.0, 10.0, 30.0)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What launching one tick came to."""

    state: TickState
    job_id: str | None = None
    approval_id: str | None = None
    problem: str = ""
    stop: bool = False
    """Whether the schedule can never fire again, as when its owner is gone."""


Launch = Callable[[AsyncSession, Schedule, datetime], Awaitable[Outcome]]
Settle = Callable[[AsyncSession, Schedule, Tick], Awaitable[Outcome | None]]
Clock = Callable[[AsyncSession], Awaitable[datetime]]


class Ticker:
    """Fires due schedules, one transaction each, until it is cancelled."""

    def __init__(
        self,
        db: Database,
        launch: Launch,
        settle: Settle | None = None,
        *,
        clock: Clock = database_now,
        poll_seconds: float = 1.0,
    ) -> None:
        """Take how a tick becomes a job, and how one that waits for a person goes on."""
        self._db = db
        self._launch = launch
        self._settle = settle
        self._clock = clock
        self._poll_seconds = poll_seconds

    async def run(self) -> None:
        """Fire for ever; an outage of the database is waited for."""
        failures, pruned_at = 0, float("-inf")
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self.fire_due()
                await self.settle_proposed()
                if loop.time() - pruned_at > _PRUNE_EVERY:
                    await self.prune()
                    pruned_at = loop.time()
                failures = 0
                pause = self._poll_seconds
            except Exception as error:  # noqa: BLE001 - the ticker goes on, whatever one round met
                pause = _BACK_OFF[min(failures, len(_BACK_OFF) - 1)]
                failures += 1
                log.warning("ticker_waits", reason=str(error), seconds=pause)
            await asyncio.sleep(pause)

    async def fire_due(self) -> int:
        """Fire everything that is due and return how many ticks were fired."""
        fired, broken = 0, set[str]()
        while True:
            claimed: list[str] = []
            try:
                count = await self._fire_one(broken, claimed)
            except NebulaError as error:
                if not claimed:
                    raise
                # Its transaction left nothing behind; the others still get their turn.
                broken.update(claimed)
                log.warning("schedule_not_fired", schedule=claimed[0], reason=str(error))
                continue
            if count is None:
                return fired
            fired += count

    async def settle_proposed(self) -> int:
        """Go on with ticks whose approval was decided; return how many."""
        if self._settle is None:
            return 0
        async with self._db.session() as session:
            rows = await session.execute(
                select(TickRow, ScheduleRow)
                .join(ScheduleRow, ScheduleRow.id == TickRow.schedule_id)
                .where(TickRow.state == TickState.PROPOSED)
                .order_by(TickRow.at)
                .limit(50)
                .with_for_update(of=TickRow, skip_locked=True)
            )
            settled = 0
            for tick, row in rows.all():
                known = Tick.model_validate(tick, from_attributes=True)
                outcome = await self._settle(session, shown(row), known)
                if outcome is not None:
                    tick.state, tick.job_id = outcome.state, outcome.job_id
                    tick.problem = outcome.problem
                    settled += 1
            return settled

    async def prune(self) -> None:
        """Forget ticks of long ago."""
        async with self._db.session() as session:
            old = TickRow.at < func.clock_timestamp() - _KEPT
            await session.execute(delete(TickRow).where(old))

    async def _fire_one(self, without: Collection[str], claimed: list[str]) -> int | None:
        """Fire one due schedule's ticks; None when nothing is due that nobody else has."""
        async with self._db.session() as session:
            now = await self._clock(session)
            row = await session.scalar(
                select(ScheduleRow)
                .where(
                    ScheduleRow.enabled,
                    ScheduleRow.next_fire_at <= now,
                    ScheduleRow.id.not_in(without),
                )
                .order_by(ScheduleRow.next_fire_at)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
            if row is None:
                return None
            claimed.append(row.id)
            return await self._fire(session, row, now)

    async def _fire(self, session: AsyncSession, row: ScheduleRow, now: datetime) -> int:
        schedule = shown(row)
        decided = plan(schedule, now)
        ticks: list[tuple[datetime, Outcome]] = []
        if decided.given_up is not None:
            lost = Outcome(TickState.SKIPPED, problem="Nobody was there to fire it in time.")
            ticks.append((decided.given_up, lost))
        for due in decided.fire:
            outcome = await self._launched(session, schedule, due)
            ticks.append((due, outcome))
            if outcome.stop:
                row.enabled, row.stopped_because = False, outcome.problem
                break
        await _record(session, row.id, ticks)
        _wait_for(row, decided.next_due)
        if decided.fire:
            row.last_fired_at = now
        return sum(outcome.state is TickState.FIRED for _, outcome in ticks)

    async def _launched(self, session: AsyncSession, schedule: Schedule, due: datetime) -> Outcome:
        try:
            async with session.begin_nested():
                return await self._launch(session, schedule, due)
        except NebulaError as error:
            if error.retryable:
                raise
            log.warning("schedule_refused", schedule=schedule.id, reason=str(error))
            return Outcome(TickState.REFUSED, problem=str(error))
        except (SQLAlchemyError, DriverError):
            raise
        except Exception:
            reference = uuid4().hex[:12]
            log.exception("schedule_broke", schedule=schedule.id, reference=reference)
            return Outcome(TickState.REFUSED, problem=str(InternalError(reference)))


def _wait_for(row: ScheduleRow, due: datetime | None) -> None:
    row.next_due_at = row.next_fire_at = due
    if due is None:
        row.enabled = False
    else:
        row.next_fire_at = due + jitter_of(row.id, due, row.jitter_seconds)


async def _record(
    session: AsyncSession, schedule_id: str, ticks: Sequence[tuple[datetime, Outcome]]
) -> None:
    """Write what became of ticks; the key refuses a second word on one, and undoes its launch."""
    rows = [
        {
            "schedule_id": schedule_id,
            "due_at": due,
            "state": outcome.state,
            "job_id": outcome.job_id,
            "approval_id": outcome.approval_id,
            "problem": outcome.problem,
        }
        for due, outcome in ticks
    ]
    if rows:
        await session.execute(insert(TickRow).values(rows))
