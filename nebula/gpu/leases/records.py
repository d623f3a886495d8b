"""Small questions to the ledger, and the answers people see: leases, decisions, reasons."""

from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.db.engine import Database
from nebula.errors import NotFound
from nebula.gpu.leases.ledger import Ledger
from nebula.gpu.leases.rows import LeaseState, ResidentState, columns, filled
from nebula.gpu.leases.signals import Signals

_RELEASE_SECONDS: Final = 10.0

_CARDS: Final = text("SELECT id FROM gpu_cards WHERE healthy")
_RESIDENT: Final = text(
    f"SELECT {columns(ResidentState)} FROM gpu_residents WHERE id = :id"  # noqa: S608
)
_ALIVE: Final = text(
    "UPDATE gpu_requests SET seen_at = clock_timestamp() WHERE id = :id AND state = 'waiting'"
)
_WITHDRAW: Final = text(
    "UPDATE gpu_requests SET state = 'withdrawn' WHERE id = :id AND state = 'waiting' RETURNING id"
)
_BECAUSE: Final = text("SELECT because FROM gpu_requests WHERE id = :id")
_PEAK: Final = text("SELECT peak FROM gpu_leases WHERE id = :id")
_RELEASE: Final = text(
    f"""
    UPDATE gpu_leases SET state = 'releasing', should_yield = true, end_reason = :reason,
        expires_at = least(expires_at, clock_timestamp() + make_interval(secs => :seconds))
    WHERE id = :id AND state = 'active' RETURNING {columns(LeaseState)}
    """  # noqa: S608
)
_DECISIONS: Final = text(
    "SELECT at, kind, card, label, reason FROM gpu_decisions ORDER BY id DESC LIMIT :limit"
)


class Decided(BaseModel):
    """One decision that was kept."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    kind: str
    card: str | None
    label: str
    reason: str


class Records:
    """Reads and notes single things of the ledger."""

    def __init__(self, db: Database, signals: Signals) -> None:
        """Take the database, and the signals of this process."""
        self._db = db
        self._signals = signals

    async def cards(self) -> frozenset[str]:
        """Return the cards that are counted on."""
        async with self._db.session() as session:
            return frozenset((await session.execute(_CARDS)).scalars())

    async def resident(self, key: str) -> ResidentState | None:
        """Return a resident as it is now."""
        async with self._db.session() as session:
            row = (await session.execute(_RESIDENT, {"id": key})).one_or_none()
        return None if row is None else filled(ResidentState, row)

    async def alive(self, session: AsyncSession, request: str) -> None:
        """Note that somebody still waits for a wish."""
        await session.execute(_ALIVE, {"id": request})

    async def withdraw(self, request: str) -> bool:
        """Take a wish back; False when it does not wait any more."""
        async with self._db.session() as session:
            done = await session.execute(_WITHDRAW, {"id": request})
            return done.one_or_none() is not None

    async def because(self, request: str) -> str:
        """Return why a wish waits."""
        async with self._db.session() as session:
            return str(
                (await session.execute(_BECAUSE, {"id": request})).scalar_one_or_none() or ""
            )

    async def peak(self, session: AsyncSession, lease: str) -> int | None:
        """Return the most memory that was measured while a lease was active."""
        found: int | None = (await session.execute(_PEAK, {"id": lease})).scalar_one_or_none()
        return found

    async def release(
        self, session: AsyncSession, ledger: Ledger, lease: str, reason: str
    ) -> LeaseState:
        """Mark a lease as taken away; raises NotFound when it is not active."""
        values = {"id": lease, "reason": reason, "seconds": _RELEASE_SECONDS}
        row = (await session.execute(_RELEASE, values)).one_or_none()
        if row is None:
            raise NotFound("No active lease has this id", hint="gpu_list_leases shows them.")
        held = filled(LeaseState, row)
        await ledger.decided(session, "release", held.label, reason, card=held.card)
        await ledger.notify(session, "yield")
        return held

    async def decisions(self, limit: int = 20) -> tuple[Decided, ...]:
        """Return the newest decisions, newest first."""
        async with self._db.session() as session:
            rows = await session.execute(_DECISIONS, {"limit": limit})
            return tuple(
                Decided(at=at, kind=kind, card=card, label=label, reason=reason)
                for at, kind, card, label, reason in rows
            )
