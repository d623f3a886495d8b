"""How wishes are written down and get their place, under the row lock of the card they change.

A card's lock is always taken first, in a statement of its own: what is read after it is what the
transactions before it left. `reserved` is counted anew from the rows every time, so that nothing
can drift. Every time is the database's.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.db.bare import Bare
from nebula.gpu.leases.need import GpuNeed
from nebula.gpu.leases.rows import (
    CardState,
    LeaseState,
    RequestState,
    ResidentState,
    columns,
    filled,
)

CHANNEL: Final = "nebula_gpu"

_LOCK: Final = f"SELECT {columns(CardState)} FROM gpu_cards WHERE id = :card FOR UPDATE"  # noqa: S608
_COUNT: Final = """
    UPDATE gpu_cards SET reserved =
        (SELECT coalesce(sum(vram), 0) FROM gpu_residents WHERE card = :card)
        + (SELECT coalesce(sum(vram), 0) FROM gpu_leases WHERE card = :card AND state <> 'ended')
    WHERE id = :card
"""
_REQUEST: Final = text(
    """
    INSERT INTO gpu_requests (id, klass, owner_id, owner_name, service, model, bucket, what, vram,
        run_seconds, node, yields, priority, job_id, seen_at)
    VALUES (:id, :klass, :owner_id, :owner_name, :service, :model, :bucket, :what, :vram,
        :run_seconds, :node, :yields, :priority, :job_id,
        CASE WHEN CAST(:job_id AS text) IS NULL THEN clock_timestamp() END)
    """
)
_WISH: Final = text(
    f"SELECT {columns(RequestState)} FROM gpu_requests "  # noqa: S608
    "WHERE id = :id AND state = 'waiting' FOR UPDATE"
)
_PLACED: Final = text("UPDATE gpu_requests SET state = 'placed', because = '' WHERE id = :id")
_RESIDENT: Final = text(
    f"SELECT {columns(ResidentState)} FROM gpu_residents "  # noqa: S608
    "WHERE card = :card AND service = :service AND (:one OR model IS NOT DISTINCT FROM :model)"
)
_USERS: Final = text(
    "SELECT count(*), count(*) FILTER (WHERE model IS DISTINCT FROM :model) FROM gpu_leases "
    "WHERE resident = :resident AND state <> 'ended'"
)
_PUT: Final = text(
    """
    INSERT INTO gpu_residents (id, card, service, model, vram, state, loader, last_used_at)
    VALUES (:id, :card, :service, :model, :vram, :state, :loader, clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET model = :model, vram = :vram, state = :state,
        loader = :loader, changed_at = clock_timestamp(), last_used_at = clock_timestamp()
    """
)
_LEASE: Final = text(
    f"""
    INSERT INTO gpu_leases (id, request_id, token, card, resident, service, model, bucket, what,
        vram, klass, owner_id, owner_name, job_id, holder, yields, expected_seconds, started_at,
        expires_at)
    VALUES (:id, :request_id, :token, :card, :resident, :service, :model, :bucket, :what,
        :vram, :klass, :owner_id, :owner_name, :job_id, :holder, :yields, :expected_seconds,
        CASE WHEN CAST(:holder AS text) IS NULL THEN NULL ELSE clock_timestamp() END,
        clock_timestamp() + make_interval(secs => :seconds))
    RETURNING {columns(LeaseState)}
    """  # noqa: S608
)
_TAKE_WARM: Final = text(
    f"""
    INSERT INTO gpu_leases (id, token, card, resident, service, model, bucket, what, vram, klass,
        owner_id, owner_name, job_id, holder, yields, expected_seconds, started_at, expires_at)
    SELECT :id, c.last_token, c.id, r.id, :service, :model, :bucket, :what, 0, :klass,
        :owner_id, :owner_name, :job_id, :holder, :yields, :expected_seconds,
        CASE WHEN CAST(:holder AS text) IS NOT NULL THEN clock_timestamp() END,
        clock_timestamp() + make_interval(secs => :seconds)
    FROM gpu_residents r JOIN gpu_cards c ON c.id = r.card
    WHERE r.id = :resident AND r.card = :card AND r.state = 'loaded'
        AND r.model IS NOT DISTINCT FROM :model AND r.vram >= :need_vram
        AND c.healthy AND NOT c.draining
        AND NOT EXISTS (SELECT FROM gpu_requests WHERE state = 'waiting')
        AND (SELECT count(*) FROM gpu_leases l WHERE l.resident = r.id AND l.state <> 'ended')
            < :parallel
    RETURNING {columns(LeaseState)}
    """  # noqa: S608
)
_TOKEN: Final = text(
    "UPDATE gpu_cards SET last_token = last_token + 1 WHERE id = :card RETURNING last_token"
)
_NOTIFY: Final = text("SELECT pg_notify(:channel, :payload)")
_DECIDED: Final = text(
    "INSERT INTO gpu_decisions (kind, card, label, request_id, reason) "
    "VALUES (:kind, :card, :label, :request_id, :reason)"
)


@lru_cache(maxsize=32)
def statement(sql: str) -> TextClause:
    """Return a statement made of text once: each text that is made anew is compiled anew."""
    return text(sql)


@dataclass(frozen=True)
class Owner:
    """Who wants something of a GPU, and for which job."""

    id: str
    name: str
    job_id: str | None = None
    priority: int = 0


@dataclass(frozen=True)
class Grant:
    """A lease that was made, and whether its model must be loaded first."""

    lease: LeaseState
    must_load: bool


class Placing:
    """Wishes and places, as statements inside the caller's transaction."""

    lock_card: str = _LOCK

    async def lock(self, session: AsyncSession, card: str) -> CardState | None:
        """Take a card's lock and return its row."""
        row = (await session.execute(statement(self.lock_card), {"card": card})).one_or_none()
        return None if row is None else filled(CardState, row)

    async def count(self, session: AsyncSession, card: str) -> None:
        """Count anew what is promised of a card whose lock is held."""
        await session.execute(statement(_COUNT), {"card": card})

    async def notify(self, session: AsyncSession, payload: str = "tick") -> None:
        """Tell every process when this transaction commits."""
        await session.execute(_NOTIFY, {"channel": CHANNEL, "payload": payload})

    async def decided(
        self,
        session: AsyncSession,
        kind: str,
        label: str,
        reason: str,
        *,
        card: str | None = None,
        request: str | None = None,
    ) -> None:
        """Keep a decision with its reason."""
        values = {"kind": kind, "label": label, "reason": reason, "card": card}
        await session.execute(_DECIDED, {**values, "request_id": request})

    async def request(self, session: AsyncSession, need: GpuNeed, owner: Owner) -> str:
        """Write a wish down and return its id."""
        key = uuid4().hex
        wish = need.model_dump(exclude={"klass"}) | {"klass": need.klass.name.lower()}
        who = {"owner_id": owner.id, "owner_name": owner.name, "job_id": owner.job_id}
        await session.execute(_REQUEST, {"id": key, **wish, **who, "priority": owner.priority})
        await self.notify(session)
        return key

    async def place(
        self,
        session: AsyncSession,
        request: str,
        card: str,
        *,
        vram: int,
        one: bool,
        parallel: int,
        seconds: float,
        expected_seconds: float | None = None,
        holder: str | None = None,
    ) -> Grant | None:
        """Give a waiting request its place on a card; None when it has no room there any more.

        `vram` is what its work needs at its peak, in bytes; `one` says that its service keeps one
        model at a time; `parallel` is how many may share it; the lease lasts `seconds`.
        """
        locked = await self.lock(session, card)
        row = (await session.execute(_WISH, {"id": request})).one_or_none()
        if locked is None or row is None or not locked.healthy or locked.draining:
            return None
        wish = filled(RequestState, row)
        loaded = await self._resident(session, wish, card, one=one)
        key, seat = uuid4().hex, None
        if wish.service is not None:
            seat = resident_id(card, wish.service, wish.model, one=one)
            fits = await self._seat(
                session, locked, wish, loaded, seat=seat, vram=vram, parallel=parallel, loader=key
            )
            if fits is None:
                return None
            must_load, own = fits, 0
        elif locked.room < vram:
            return None
        else:
            must_load, own = False, vram
        token = (await session.execute(_TOKEN, {"card": card})).scalar_one()
        lease = {
            "id": key,
            "request_id": wish.id,
            "token": token,
            "card": card,
            "resident": seat,
            "vram": own,
            "seconds": seconds,
            "expected_seconds": expected_seconds,
            "holder": holder,
        }
        made = await self._lease(session, lease | _of_wish(wish))
        await session.execute(_PLACED, {"id": wish.id})
        await self.count(session, card)
        await self.notify(session, f"placed {wish.id}")
        return Grant(made, must_load)

    async def _resident(
        self, session: AsyncSession, wish: RequestState, card: str, *, one: bool
    ) -> ResidentState | None:
        where = {"card": card, "service": wish.service or "", "model": wish.model, "one": one}
        row = (await session.execute(_RESIDENT, where)).one_or_none()
        return None if row is None else filled(ResidentState, row)

    async def _seat(
        self,
        session: AsyncSession,
        card: CardState,
        wish: RequestState,
        loaded: ResidentState | None,
        *,
        seat: str,
        vram: int,
        parallel: int,
        loader: str,
    ) -> bool | None:
        """Make room for a model; say whether it must be loaded, or None when it cannot be had."""
        held = loaded.vram if loaded else 0
        if card.room < max(0, vram - held):
            return None
        values: dict[str, Any] = {
            "id": seat,
            "card": card.id,
            "service": wish.service,
            "model": wish.model,
            "vram": max(vram, held),
            "state": "loading",
            "loader": loader,
        }
        if loaded is None:
            await session.execute(_PUT, values)
            return True
        who = {"resident": loaded.id, "model": wish.model}
        users, others = (await session.execute(_USERS, who)).one()
        same = loaded.model == wish.model
        if loaded.state == "leaving" or users >= parallel or (others and not same):
            return None
        if same and loaded.state == "loaded":
            await session.execute(_PUT, values | {"state": "loaded", "loader": None})
            return False
        if same and users:
            return False  # somebody loads it right now
        await session.execute(_PUT, values)
        return True

    async def take_warm(
        self,
        db: Bare,
        need: GpuNeed,
        owner: Owner,
        resident: str,
        card: str,
        *,
        vram: int,
        parallel: int,
        seconds: float,
        expected_seconds: float,
        holder: str | None,
    ) -> LeaseState | None:
        """Lease a loaded model at once, past the scheduler, while nobody waits for anything.

        The token's update holds the card's lock; the rows are read after it, by a statement of
        its own in the same transaction.
        """
        values = {
            "card": card,
            "resident": resident,
            "parallel": parallel,
            "need_vram": vram,
            **_of_need(need, owner),
            "seconds": seconds,
            "expected_seconds": expected_seconds,
            "holder": holder,
            "id": uuid4().hex,
        }
        await db.execute(_TOKEN, {"card": card})
        row = await (await db.execute(_TAKE_WARM, values)).fetchone()
        return None if row is None else filled(LeaseState, row)

    async def _lease(self, session: AsyncSession, values: dict[str, Any]) -> LeaseState:
        return filled(LeaseState, (await session.execute(_LEASE, values)).one())


def _of_wish(wish: RequestState) -> dict[str, Any]:
    names = (
        "service", "model", "bucket", "what", "klass", "owner_id", "owner_name", "job_id", "yields"
    )  # fmt: skip
    return {name: getattr(wish, name) for name in names}


def _of_need(need: GpuNeed, owner: Owner) -> dict[str, Any]:
    return {
        "service": need.service,
        "model": need.model,
        "bucket": need.bucket,
        "what": need.what,
        "klass": need.klass.name.lower(),
        "owner_id": owner.id,
        "owner_name": owner.name,
        "job_id": owner.job_id,
        "yields": need.yields,
    }


def card_id(node: str, gpu: int) -> str:
    """Return a card's id."""
    return f"{node}/{gpu}"


def place_of(card: str) -> tuple[str, int]:
    """Return the node and the index of a card's id."""
    node, _, gpu = card.rpartition("/")
    return node, int(gpu)


def resident_id(card: str, service: str, model: str | None, *, one: bool) -> str:
    """Return a resident's id; a service that keeps one model has one resident."""
    return f"{card}:{service}" if one or model is None else f"{card}:{service}:{model}"
