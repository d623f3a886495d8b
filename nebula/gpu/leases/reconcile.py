"""Brings the ledger's cards and residents to what was seen: the real state wins.

Models that somebody loaded behind our back are adopted, models that are gone are dropped, and what
programs that are not ours hold is counted. What changed in the ledger while we looked is left
alone: the next look tells about it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.gpu.hands import foreign
from nebula.gpu.leases.ledger import Ledger
from nebula.gpu.leases.picture import Pictures
from nebula.gpu.leases.placing import card_id, resident_id
from nebula.gpu.leases.rows import ResidentState, columns, filled
from nebula.gpu.snapshot import GpuReading, GpuSnapshot, NodeSnapshot, Resident
from nebula.services.map import ServiceMap, Target

_MAKE: Final = text(
    """
    INSERT INTO gpu_cards (id, node, gpu, name, capacity, simulated)
    VALUES (:id, :node, :gpu, :name, :capacity, :simulated) ON CONFLICT (id) DO NOTHING
    """
)
_SEEN: Final = text(
    """
    UPDATE gpu_cards SET name = :name, capacity = greatest(:capacity, reserved), kept = :kept,
        foreign_used = coalesce(:foreign, foreign_used), utilization = :utilization,
        healthy = true, simulated = :simulated, seen_at = clock_timestamp()
    WHERE id = :id
    """
)
_UNSEEN: Final = text(
    "UPDATE gpu_cards SET healthy = false WHERE healthy AND NOT id = ANY(:seen) RETURNING id"
)
_HERE: Final = text(
    f"SELECT {columns(ResidentState)}, "  # noqa: S608
    "(SELECT count(*) FROM gpu_leases l WHERE l.resident = r.id AND l.state <> 'ended') AS users "
    "FROM gpu_residents r WHERE card = :card ORDER BY id"
)
_ADOPT: Final = text(
    """
    INSERT INTO gpu_residents
        (id, card, service, model, vram, measured, state, busy, last_used_at)
    VALUES (:id, :card, :service, :model, :vram, :measured, 'loaded', :busy, :last_used)
    """
)
_UPDATE: Final = text(
    "UPDATE gpu_residents SET vram = :vram, measured = :measured, busy = :busy, state = :state, "
    "loader = CASE WHEN :state = 'loading' THEN loader END, "
    "last_used_at = greatest(last_used_at, CASE WHEN :busy THEN clock_timestamp() END) "
    "WHERE id = :id"
)
_DELETE: Final = text("DELETE FROM gpu_residents WHERE id = :id")


@dataclass(frozen=True)
class _Card:
    """What was seen of one card, by a look that began at a time."""

    id: str
    total: int
    began: float
    read: float
    """When the card's own figures are from; what changed later may hold memory they do not show."""
    silent: frozenset[str]
    """Services that did not answer: they may hold what they held."""
    present: dict[str, Resident]


class Reconciler:
    """Writes what was seen into the ledger, card by card."""

    def __init__(
        self, ledger: Ledger, services: Callable[[], ServiceMap], pictures: Pictures
    ) -> None:
        """Take the ledger, the map in force, and what knows the sizes of models."""
        self._ledger = ledger
        self._map = services
        self._pictures = pictures

    async def apply(self, session: AsyncSession, seen: GpuSnapshot, began: float) -> None:
        """Write a picture that was taken after `began`, on the database's clock."""
        known: list[str] = []
        for node in seen.nodes:
            for gpu in node.gpus:
                if gpu.vram_total is not None:
                    known.append(card_id(node.name, gpu.index))
                    await self._card(session, node, gpu, began)
        await session.execute(_UNSEEN, {"seen": known})

    async def _card(
        self, session: AsyncSession, node: NodeSnapshot, gpu: GpuReading, began: float
    ) -> None:
        key = card_id(node.name, gpu.index)
        spec = self._map().node(node.name)
        about = {
            "id": key,
            "name": gpu.name,
            "capacity": gpu.vram_total,
            "simulated": node.simulated,
        }
        if await self._ledger.lock(session, key) is None:
            await session.execute(_MAKE, {**about, "node": node.name, "gpu": gpu.index})
            await self._ledger.lock(session, key)
        rows = [
            (filled(ResidentState, row[:-1]), int(row[-1]))
            for row in (await session.execute(_HERE, {"card": key})).all()
        ]
        present = self._present(node, gpu, key)
        before = await self._ledger.foreign(session, key) or 0
        bare = await self._ledger.promised(session, key)
        used = foreign(node, gpu.index, bare, before=before)
        there = _Card(
            key,
            gpu.vram_total or 0,
            began,
            began if gpu.vram_used is None else began - gpu.age,
            frozenset(s.name for s in node.services if s.silent),
            present,
        )
        dropped = await self._residents(session, there, rows)
        if used is not None:
            used = max(0, used - sum(r.vram for r, _ in rows if r.service in there.silent))
        if any(r.state != "loaded" or r.changed >= there.read for r, _ in rows):
            least = 0 if used is None else used - _moving(there, rows, dropped)
            used = max(before, least) if dropped else None
        await self._ledger.count(session, key)
        kept = spec.reserve if spec else 0
        more = {"kept": kept, "foreign": used, "utilization": gpu.utilization}
        await session.execute(_SEEN, {**about, **more})

    def _present(self, node: NodeSnapshot, gpu: GpuReading, card: str) -> dict[str, Resident]:
        """Return what is on a card, by the ledger's ids."""
        return {
            resident_id(card, r.service, r.model, one=self._pictures.one(r.service)): r
            for r in node.residents
            if r.gpu == gpu.index and r.vram != 0  # 0 bytes on the card: it runs on the processor
        }

    async def _residents(
        self, session: AsyncSession, seen: _Card, rows: Sequence[tuple[ResidentState, int]]
    ) -> set[str]:
        """Bring a card's models to what was seen, and return those that were dropped."""
        card, room, present = seen.id, seen.total, dict(seen.present)
        dropped: set[str] = set()
        for row, users in rows:
            found = present.pop(row.id, None)
            kept = row.service in seen.silent or row.changed >= seen.read
            unused = users == 0 or (row.loader is None and row.state == "loading")
            if row.state == "leaving" or row.changed >= seen.began:
                room -= row.vram
            elif found is not None:
                room -= await self._still(session, row, users, found, room)
            elif unused and not kept:
                await session.execute(_DELETE, {"id": row.id})
                dropped.add(row.id)
                if row.state == "loaded":
                    said = f"{row.label} is no longer on {card}: {row.service} dropped it by itself"
                    await self._ledger.decided(session, "drop", row.label, said, card=card)
            else:
                room -= row.vram  # somebody works with it, or loads it, or nobody knows
        for key, found in present.items():
            room -= await self._adopt(session, card, key, found, room)
        return dropped

    async def _still(
        self,
        session: AsyncSession,
        row: ResidentState,
        users: int,
        found: Resident,
        room: int,
    ) -> int:
        """Take a resident's size as it was seen; while it works it may need its peak again."""
        size = found.vram if found.vram is not None else row.vram
        if users or row.state == "loading":
            size = max(size, row.vram)
        size = max(0, min(size, room))
        # A model that is listed by a service that loads it on its own has arrived.
        there = row.state == "loaded" or not self._pictures.one(row.service) or users == 0
        state = "loaded" if there else "loading"
        values = {"id": row.id, "vram": size, "measured": found.vram}
        values |= {"busy": found.busy is True, "state": state}
        await session.execute(_UPDATE, values)
        return size

    async def _adopt(
        self, session: AsyncSession, card: str, key: str, found: Resident, room: int
    ) -> int:
        """Count a model that somebody else loaded; unknown sizes are taken from the budgets."""
        size = found.vram
        if size is None:
            size = self._pictures.size(found.target) or 0
        size = max(0, min(size, room))
        target = Target(service=found.service, model=found.model)
        values = {
            "id": key,
            "card": card,
            "service": target.service,
            "model": target.model,
            "vram": size,
            "measured": found.vram,
            "busy": found.busy is True,
            "last_used": found.last_used,
        }
        await session.execute(_ADOPT, values)
        said = f"{found.label} is on {card} without our doing; its memory is counted"
        await self._ledger.decided(session, "adopt", found.label, said, card=card)
        return size


def _moving(there: _Card, rows: list[tuple[ResidentState, int]], dropped: set[str]) -> int:
    """Return the bytes of what moves, which its row counts; what was dropped may still be there."""
    out = {*there.present, *dropped}
    return sum(r.vram for r, _ in rows if r.id not in out and r.service not in there.silent)
