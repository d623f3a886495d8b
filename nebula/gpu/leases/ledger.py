"""The transactions of the ledger: renew and end leases, bury lost ones, load and unload.

Each one holds the row lock of the card whose promises it changes; every time is the database's.
"""

from collections.abc import Collection
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.db.bare import Statements
from nebula.gpu.footprints.estimate import HALF_LIFE_SECONDS
from nebula.gpu.leases.placing import (
    CHANNEL,
    Grant,
    Owner,
    Placing,
    card_id,
    place_of,
    resident_id,
    statement,
)
from nebula.gpu.leases.rows import LeaseState, ResidentState, columns, filled

__all__ = ["CHANNEL", "Grant", "Ledger", "Owner", "card_id", "place_of", "resident_id"]

_HELD: Final = "id = :id AND token = :token AND state IN ('active', 'releasing')"
_FREE: Final = """
    UPDATE gpu_leases SET state = 'ended', ended_at = clock_timestamp(), end_reason = :reason
    WHERE {held}
"""
_RENEW: Final = """
    UPDATE gpu_leases SET expires_at = CASE WHEN state = 'active'
        THEN clock_timestamp() + make_interval(secs => :seconds) ELSE expires_at END
    WHERE {held} RETURNING should_yield OR state = 'releasing'
"""
_TAKE_UP: Final = text(
    f"""
    UPDATE gpu_leases SET holder = :holder, started_at = clock_timestamp(),
        expires_at = clock_timestamp() + make_interval(secs => :seconds)
    WHERE (request_id = :request OR job_id = :job) AND state = 'active' AND holder IS NULL
    RETURNING {columns(LeaseState)}
    """  # noqa: S608
)
_END_SHORT: Final = """
    WITH soon AS MATERIALIZED (
        SELECT set_config('synchronous_commit', 'off', true)
    ), ended AS (
        UPDATE gpu_leases SET state = 'ended', ended_at = clock_timestamp(), end_reason = 'done'
        WHERE {held} RETURNING peak
    ), touched AS (
        UPDATE gpu_residents SET last_used_at = clock_timestamp() WHERE id = :resident
    ), counted AS (
        INSERT INTO gpu_uses AS u (service, model, weight) VALUES (:service, :model, 1)
        ON CONFLICT (service, model) DO UPDATE SET at = clock_timestamp(), weight = 1 + u.weight
            * 0.5 ^ (extract(epoch FROM clock_timestamp() - u.at) / :half_life)::float8
    ), placed AS (
        UPDATE gpu_requests SET state = 'done' WHERE id = :request AND state = 'placed'
    ), told AS (
        SELECT pg_notify(:channel, 'tick') FROM gpu_requests WHERE state = 'waiting' LIMIT 1
    )
    SELECT peak FROM ended CROSS JOIN soon LEFT JOIN told ON true
"""
_USED: Final = text(
    "UPDATE gpu_residents SET last_used_at = clock_timestamp() WHERE id = :resident"
)
_OVER: Final = text("UPDATE gpu_requests SET state = 'done' WHERE id = :id AND state = 'placed'")
_SOMEBODY_WAITS: Final = text(
    "SELECT pg_notify(:channel, 'tick') WHERE EXISTS "
    "(SELECT FROM gpu_requests WHERE state = 'waiting')"
)
_EXPIRED: Final = text(
    f"""
    UPDATE gpu_leases SET state = 'lost', end_reason = 'its holder fell silent'
    WHERE state IN ('active', 'releasing') AND expires_at < clock_timestamp()
    RETURNING {columns(LeaseState)}
    """  # noqa: S608
)
_SILENT: Final = text(
    """
    UPDATE gpu_requests SET state = 'withdrawn'
    WHERE state = 'waiting' AND seen_at < clock_timestamp() - make_interval(secs => :seconds)
    RETURNING id
    """
)
_OF_JOB: Final = text(
    f"SELECT {columns(LeaseState)} FROM gpu_leases "  # noqa: S608
    "WHERE job_id = :job AND state IN ('active', 'releasing')"
)
_ENDED: Final = text(
    """
    UPDATE gpu_leases SET state = 'ended', ended_at = clock_timestamp(), end_reason = :reason
    WHERE id = :id AND state <> 'ended' RETURNING card, resident, request_id
    """
)
_LEAVING: Final = text(
    """
    UPDATE gpu_residents r SET state = 'leaving', loader = NULL, changed_at = clock_timestamp()
    WHERE r.id = :id AND r.state = 'loaded' AND NOT EXISTS
        (SELECT FROM gpu_leases l WHERE l.resident = r.id AND l.state <> 'ended')
    RETURNING r.card
    """
)
_STATE: Final = text(
    """
    UPDATE gpu_residents SET state = :state, loader = NULL, changed_at = clock_timestamp()
    WHERE id = :id AND state = :before RETURNING card
    """
)
_GONE: Final = text(
    "DELETE FROM gpu_residents WHERE id = :id AND state = :state "
    "AND (CAST(:loader AS text) IS NULL OR loader = :loader) RETURNING card"
)
_LEFT_ALONE: Final = text(
    "UPDATE gpu_residents SET loader = NULL WHERE id = :id AND state = 'loading' "
    "AND loader = :loader"
)
_TAKE_OVER: Final = text(
    """
    UPDATE gpu_residents SET loader = :lease, changed_at = clock_timestamp()
    WHERE id = :id AND state = 'loading' AND model IS NOT DISTINCT FROM :model
        AND NOT EXISTS (SELECT FROM gpu_leases WHERE id = loader AND state <> 'lost'
            AND state <> 'ended')
    RETURNING id
    """
)
_STOPPED: Final = text(
    f"""
    WITH told AS (
        SELECT v.id, bool_and(coalesce(t ->> 'state' IN
            ('succeeded', 'failed', 'killed', 'fenced'), false)) AS over
        FROM gpu_leases v
        JOIN gpu_cards c ON c.id = v.card
        JOIN nodes n ON n.name = c.node
        JOIN LATERAL jsonb_array_elements(n.beat -> 'tasks') t
            ON t ->> 'gpu' = c.gpu::text AND t ->> 'token' = v.token::text
        WHERE v.state = 'lost' AND v.resident IS NULL
        GROUP BY v.id
    )
    SELECT {columns(LeaseState)} FROM gpu_leases JOIN told USING (id) WHERE over
    """  # noqa: S608
)
_FOREIGN: Final = text("UPDATE gpu_cards SET foreign_used = :foreign WHERE id = :card")
_OTHERS: Final = text("SELECT foreign_used FROM gpu_cards WHERE id = :card")
_PROMISED: Final = text(
    "SELECT coalesce(sum(vram), 0) FROM gpu_leases WHERE card = :card AND state <> 'ended'"
)


class Ledger(Placing):
    """Every transaction of the ledger, as statements inside the caller's."""

    held: str = _HELD
    """What proves that a lease is still its holder's: id, token and state."""
    freed: str = "state = 'lost' AND expires_at + make_interval(secs => :grace) < clock_timestamp()"
    """When a lost lease's memory is free: its node has stopped the work by itself by then."""

    async def renew(
        self, session: AsyncSession, lease: str, token: int, seconds: float
    ) -> bool | None:
        """Prolong a lease; say whether it should yield, or None when it is its holder's no longer.

        A lease that a person released is not prolonged: its holder has until it expires.
        """
        renewed = statement(_RENEW.format(held=self.held))
        values = {"id": lease, "token": token, "seconds": seconds}
        found: bool | None = (await session.execute(renewed, values)).scalar_one_or_none()
        return found

    async def take_up(
        self,
        session: AsyncSession,
        holder: str,
        seconds: float,
        *,
        request: str = "",
        job: str = "",
    ) -> LeaseState | None:
        """Make a process the holder of what was placed for it; None when there is no place."""
        values = {"request": request, "job": job, "holder": holder, "seconds": seconds}
        row = (await session.execute(_TAKE_UP, values)).one_or_none()
        return None if row is None else filled(LeaseState, row)

    async def end(self, session: AsyncSession, lease: LeaseState, reason: str = "") -> bool:
        """End a lease by the word of its holder; False when it was its holder's no longer."""
        if lease.vram:
            await self.lock(session, lease.card)
        values = {"id": lease.id, "token": lease.token, "reason": reason}
        done = await session.execute(text(_FREE.format(held=self.held) + "RETURNING id"), values)
        if done.one_or_none() is None:
            return False
        await self._after(session, lease.card, lease.resident, lease.request_id)
        return True

    async def end_short(self, db: Statements, lease: LeaseState) -> int | None:
        """End a lease on a loaded model, count its use, and return the peak that was measured.

        One statement, which may be a transaction of its own. Its commit is not waited for: one that is lost in a crash lets the lease expire instead.
        """
        values = {
            "id": lease.id,
            "token": lease.token,
            "request": lease.request_id,
            "resident": lease.resident,
            "service": lease.service,
            "model": lease.model or "",
            "half_life": HALF_LIFE_SECONDS,
            "channel": CHANNEL,
        }
        found: int | None = await db.scalar(statement(_END_SHORT.format(held=self.held)), values)
        return found

    async def end_of_job(self, session: AsyncSession, job: str, reason: str) -> bool:
        """End the lease of a job whose run came to an end."""
        row = (await session.execute(_OF_JOB, {"job": job})).one_or_none()
        return row is not None and await self.finish(session, filled(LeaseState, row), reason)

    async def finish(self, session: AsyncSession, lease: LeaseState, reason: str) -> bool:
        """End a lease because it is known that its work has stopped."""
        await self.lock(session, lease.card)
        row = (await session.execute(_ENDED, {"id": lease.id, "reason": reason})).one_or_none()
        if row is not None:
            await self._after(session, lease.card, lease.resident, lease.request_id)
        return row is not None

    async def _after(
        self, session: AsyncSession, card: str, resident: str | None, request: str | None
    ) -> None:
        if resident is None:
            await self.count(session, card)
        else:
            await session.execute(_USED, {"resident": resident})
        if request is not None:
            await session.execute(_OVER, {"id": request})
        await session.execute(_SOMEBODY_WAITS, {"channel": CHANNEL})

    async def expire(self, session: AsyncSession) -> tuple[LeaseState, ...]:
        """Declare leases lost whose holders fell silent; their memory stays counted."""
        lost = [filled(LeaseState, row) for row in await session.execute(_EXPIRED)]
        for lease in lost:
            reason = f"{lease.label} of {lease.owner_name} fell silent; its memory is kept for now"
            await self.decided(session, "lost", lease.label, reason, card=lease.card)
        return tuple(lost)

    async def bury(self, session: AsyncSession, grace: float) -> tuple[LeaseState, ...]:
        """End lost leases whose nodes say that the work is over, or have stopped it by now.

        A lease's work is one task, and a lost lease starts none: that a task with its token has
        ended is enough. That there is none is not: it may still be on its way to the node.
        """
        over = [filled(LeaseState, row) for row in await session.execute(_STOPPED)]
        stopped = [v for v in over if await self.finish(session, v, "lost; its node stopped it")]
        late = text(f"SELECT {columns(LeaseState)} FROM gpu_leases WHERE {self.freed}")  # noqa: S608
        found = [filled(LeaseState, row) for row in await session.execute(late, {"grace": grace})]
        return (*stopped, *[v for v in found if await self.finish(session, v, "lost")])

    async def forget_silent(self, session: AsyncSession, seconds: float) -> None:
        """Take back wishes of waiting processes that fell silent; jobs' wishes wait for ever."""
        await session.execute(_SILENT, {"seconds": seconds})

    async def leaving(self, session: AsyncSession, resident: ResidentState) -> bool:
        """Mark a model as leaving; False when somebody uses it, or it is no longer there."""
        await self.lock(session, resident.card)
        return (await session.execute(_LEAVING, {"id": resident.id})).one_or_none() is not None

    async def left(
        self, session: AsyncSession, resident: str, card: str, foreign: int | None = None
    ) -> None:
        """Drop a model that left; `foreign` bytes of the card were seen to be somebody else's."""
        await self._drop(session, resident, card, "leaving")
        if foreign is not None:
            await session.execute(_FOREIGN, {"card": card, "foreign": foreign})

    async def promised(self, session: AsyncSession, card: str) -> int:
        """Return the bytes of a card that leases on bare memory hold."""
        return int((await session.execute(_PROMISED, {"card": card})).scalar_one())

    async def foreign(self, session: AsyncSession, card: str) -> int | None:
        """Return the bytes of a card that are somebody else's, as they were last seen."""
        found = await session.execute(_OTHERS, {"card": card})
        seen: int | None = found.scalar_one_or_none()
        return seen

    async def stays(self, session: AsyncSession, resident: str) -> None:
        """Note that a model that was to leave is still there."""
        where = {"id": resident, "before": "leaving", "state": "loaded"}
        await session.execute(_STATE, where)
        await self.notify(session)

    async def loaded(self, session: AsyncSession, resident: str) -> bool:
        """Note that a model is loaded; False when that was known."""
        where = {"id": resident, "before": "loading", "state": "loaded"}
        if (await session.execute(_STATE, where)).one_or_none() is None:
            return False
        await self.notify(session, f"loaded {resident}")
        return True

    async def take_over(self, session: AsyncSession, lease: LeaseState) -> bool:
        """Make a lease that waits for its model the one that loads it, when no other does."""
        values = {"id": lease.resident, "model": lease.model, "lease": lease.id}
        return (await session.execute(_TAKE_OVER, values)).one_or_none() is not None

    async def not_loaded(
        self, session: AsyncSession, resident: str, card: str, loader: str, *, over: bool = True
    ) -> None:
        """Drop a model whose load failed, unless somebody else loads it by now.

        One that may still be loading (not `over`) is counted until the card is looked at.
        """
        if over:
            await self._drop(session, resident, card, "loading", loader)
        else:
            await session.execute(_LEFT_ALONE, {"id": resident, "loader": loader})

    async def _drop(
        self, session: AsyncSession, resident: str, card: str, state: str, loader: str | None = None
    ) -> None:
        await self.lock(session, card)
        await session.execute(_GONE, {"id": resident, "state": state, "loader": loader})
        await self.count(session, card)
        await self.notify(session, f"loaded {resident}")
        await self.notify(session)

    async def ask_to_yield(self, session: AsyncSession, leases: Collection[str]) -> None:
        """Ask holders to save their work and leave."""
        asked = text(
            "UPDATE gpu_leases SET should_yield = true "
            "WHERE id = ANY(:ids) AND state = 'active' RETURNING id"
        )
        for _ in await session.execute(asked, {"ids": list(leases)}):
            await self.notify(session, "yield")
