"""What the ledger's rows say at one moment, read in one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.gpu.leases.need import GpuNeed
from nebula.gpu.policy.types import PriorityClass
from nebula.services.map import Target

R = TypeVar("R")

# Fair share looks back this far.
_USAGE_SECONDS = 3600.0


@dataclass(frozen=True)
class CardState:
    """A card as the ledger knows it; sizes in bytes."""

    id: str
    node: str
    gpu: int
    name: str | None
    capacity: int
    kept: int
    reserved: int
    foreign_used: int
    last_token: int
    healthy: bool
    draining: bool
    simulated: bool
    utilization: float | None

    @property
    def room(self) -> int:
        """Return what may still be promised."""
        return self.capacity - self.kept - self.foreign_used - self.reserved


@dataclass(frozen=True)
class ResidentState:
    """A model on a card; times in seconds on the database's clock."""

    id: str
    card: str
    service: str
    model: str | None
    vram: int
    measured: int | None
    state: str
    loader: str | None
    busy: bool
    changed: float
    last_used: float | None

    @property
    def target(self) -> Target:
        """Return what would bring it back."""
        return Target(service=self.service, model=self.model)

    @property
    def label(self) -> str:
        """Return what a person calls it."""
        return self.model or self.service


@dataclass(frozen=True)
class RequestState:
    """A wish that waits or was placed."""

    id: str
    state: str
    klass: str
    owner_id: str
    owner_name: str
    service: str | None
    model: str | None
    bucket: str
    what: str
    vram: int | None
    run_seconds: float | None
    node: str | None
    yields: bool
    priority: int
    job_id: str | None
    because: str
    created: float

    @property
    def need(self) -> GpuNeed:
        """Return the wish in the words it was made in."""
        return GpuNeed(
            service=self.service,
            model=self.model,
            bucket=self.bucket,
            klass=PriorityClass[self.klass.upper()],
            vram=self.vram,
            run_seconds=self.run_seconds,
            node=self.node,
            yields=self.yields,
            what=self.what,
        )


@dataclass(frozen=True)
class LeaseState:
    """A lease that has not ended."""

    id: str
    request_id: str | None
    token: int
    card: str
    resident: str | None
    service: str | None
    model: str | None
    bucket: str
    what: str
    vram: int
    klass: str
    owner_id: str
    owner_name: str
    job_id: str | None
    holder: str | None
    state: str
    yields: bool
    should_yield: bool
    expected_seconds: float | None
    peak: int | None
    created: float
    started: float | None
    expires: float

    @property
    def label(self) -> str:
        """Return what a person calls it."""
        return self.model or self.service or self.what or "GPU work"


@dataclass(frozen=True)
class Rows:
    """Everything the ledger holds that is not over yet."""

    now: float
    cards: tuple[CardState, ...]
    residents: tuple[ResidentState, ...]
    waiting: tuple[RequestState, ...]
    leases: tuple[LeaseState, ...]
    usage: Mapping[str, float]

    def resident(self, key: str | None) -> ResidentState | None:
        """Return a resident by its id."""
        return next((r for r in self.residents if r.id == key), None)

    def card(self, key: str) -> CardState | None:
        """Return a card by its id."""
        return next((c for c in self.cards if c.id == key), None)

    def leases_on(self, resident: str) -> tuple[LeaseState, ...]:
        """Return the leases that use a resident."""
        return tuple(lease for lease in self.leases if lease.resident == resident)


_EPOCHS = {
    "changed": "extract(epoch FROM changed_at)::float8",
    "last_used": "extract(epoch FROM last_used_at)::float8",
    "created": "extract(epoch FROM created_at)::float8",
    "started": "extract(epoch FROM started_at)::float8",
    "expires": "extract(epoch FROM expires_at)::float8",
}


def columns(kind: type[Any]) -> str:
    """Return the columns that fill one of the states above."""
    names = [f.name for f in fields(kind)]
    return ", ".join(f"{_EPOCHS[n]} AS {n}" if n in _EPOCHS else n for n in names)


def filled(kind: type[R], row: Any) -> R:
    """Make a state of a row that was read with its columns."""
    return kind(*row)


_CARDS = text(
    f"SELECT {columns(CardState)}, extract(epoch FROM clock_timestamp())::float8 "  # noqa: S608
    "FROM gpu_cards ORDER BY id"
)
_RESIDENTS = text(
    f"SELECT {columns(ResidentState)} FROM gpu_residents ORDER BY id"  # noqa: S608
)
_WAITING = text(
    f"SELECT {columns(RequestState)} FROM gpu_requests WHERE state = 'waiting' "  # noqa: S608
    "ORDER BY created_at, id LIMIT 1000"
)
_LEASES = text(
    f"SELECT {columns(LeaseState)} FROM gpu_leases WHERE state <> 'ended' "  # noqa: S608
    "ORDER BY created_at, id"
)
_USAGE = text(
    """
    SELECT owner_id, sum(extract(epoch FROM
        least(coalesce(ended_at, now()), now())
        - greatest(coalesce(started_at, created_at), now() - make_interval(secs => :back))
    ))::float8
    FROM gpu_leases
    WHERE state <> 'ended' OR ended_at > now() - make_interval(secs => :back)
    GROUP BY owner_id
    """
)
_NOW = text("SELECT extract(epoch FROM clock_timestamp())::float8")


async def database_now(session: AsyncSession) -> float:
    """Return the database's clock in seconds."""
    return float((await session.execute(_NOW)).scalar_one())


async def read(session: AsyncSession) -> Rows:
    """Read every row that is not over yet."""
    cards = (await session.execute(_CARDS)).all()
    residents = await session.execute(_RESIDENTS)
    waiting = tuple(filled(RequestState, row) for row in await session.execute(_WAITING))
    leases = await session.execute(_LEASES)
    usage: Mapping[str, float] = {}
    if len({w.owner_id for w in waiting}) > 1:  # fair share is between owners
        rows = await session.execute(_USAGE, {"back": _USAGE_SECONDS})
        usage = {owner: max(0.0, seconds or 0.0) for owner, seconds in rows}
    return Rows(
        now=cards[0][-1] if cards else await database_now(session),
        cards=tuple(filled(CardState, row[:-1]) for row in cards),
        residents=tuple(filled(ResidentState, row) for row in residents),
        waiting=waiting,
        leases=tuple(filled(LeaseState, row) for row in leases),
        usage=usage,
    )
