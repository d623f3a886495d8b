"""Reads the work that cards have done, as records that the simulator plays again."""

from collections.abc import Sequence
from typing import Any, Final, Literal

from sqlalchemy import RowMapping, text

from nebula.gpu.leases.tools import Tools
from nebula.gpu.simulate.record import Recorded, to_trace
from nebula.gpu.simulate.trace import Trace, TraceCard
from nebula.services.map import Target

# A lease that found its model loaded says so in the reason that was kept with its start.
_ENDED: Final = text(
    """
    SELECT l.id, l.owner_id, l.klass, l.service, l.model, l.bucket, l.what, l.yields,
        coalesce(l.peak, nullif(l.vram, 0), r.vram) AS vram,
        extract(epoch FROM coalesce(r.created_at, l.created_at))::float8 AS created,
        extract(epoch FROM l.started_at)::float8 AS started,
        extract(epoch FROM l.ended_at)::float8 AS ended,
        EXISTS (SELECT FROM gpu_decisions d WHERE d.request_id = l.request_id
            AND d.kind = 'start' AND d.reason NOT LIKE '%is loaded already%') AS loaded
    FROM gpu_leases l LEFT JOIN gpu_requests r ON r.id = l.request_id
    WHERE l.state = 'ended' AND l.started_at IS NOT NULL
        AND l.ended_at > clock_timestamp() - make_interval(secs => :seconds)
    ORDER BY l.ended_at DESC LIMIT :most
    """
)
_CARDS: Final = text("SELECT id, capacity FROM gpu_cards WHERE capacity > 0 ORDER BY id")


class History:
    """What the ledger still knows of work that has ended."""

    def __init__(self, tools: Tools) -> None:
        """Take the ledger's tools: its database, and what is known of every model."""
        self._tools = tools

    async def trace(self, name: str, *, days: float, most: int = 5000) -> Trace:
        """Return the work that ended in the last days, newest first when there is too much."""
        await self._tools.pictures.footprints.refresh()
        async with self._tools.db.session() as session:
            wanted = {"seconds": days * 86_400, "most": most}
            rows = (await session.execute(_ENDED, wanted)).mappings().all()
            cards = (await session.execute(_CARDS)).all()
        return to_trace(
            name, [TraceCard(id=key, capacity=size) for key, size in cards], self._records(rows)
        )

    def _records(self, rows: Sequence[RowMapping]) -> list[Recorded]:
        return [Recorded.model_validate(self._filled(row)) for row in rows]

    def _filled(self, row: RowMapping) -> dict[str, Any]:
        """Add what the service map and the measurements tell of the model."""
        found, pictures = dict(row), self._tools.pictures
        bucket, service = found.pop("bucket"), found["service"]
        holds: Literal["one", "models"] = "one" if pictures.one(service) else "models"
        found |= {"owner": found.pop("owner_id"), "load_seconds": 0.0, "holds": holds}
        if service is not None:
            target = Target(service=service, model=found["model"])
            found["vram"] = found["vram"] or pictures.size(target, bucket)
            found["load_seconds"] = pictures.load_seconds(target)
            found["parallel"] = pictures.parallel(service)
        return found
