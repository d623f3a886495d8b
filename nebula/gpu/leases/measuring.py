"""Measures what leased models take while they work: NVML per process, or the service's word."""

from collections import defaultdict
from collections.abc import Callable, Iterable

from sqlalchemy import text

from nebula.gpu.leases.ledger import place_of
from nebula.gpu.leases.rows import LeaseState, Rows
from nebula.gpu.leases.tools import Tools
from nebula.gpu.snapshot import GpuReading

_PEAK = text(
    "UPDATE gpu_leases SET peak = greatest(peak, :peak) WHERE id = :id AND state <> 'ended'"
)


class Measuring:
    """Notes the most memory that was seen while a lease was active."""

    def __init__(self, tools: Tools) -> None:
        """Take what leases are made with."""
        self._tools = tools

    async def sample(self, rows: Rows) -> None:
        """Look once at the cards on which leases work."""
        working = [v for v in rows.leases if v.state == "active" and v.started is not None]
        nodes = {place_of(lease.card)[0] for lease in working}
        readings: dict[str, GpuReading] = {}
        for node in nodes:
            for card in await self._tools.hands.cards(node):
                readings[f"{node}/{card.index}"] = card
        peaks = _peaks(working, readings, self._tools.pictures.one)
        # A service that keeps many models gives a figure for each; the ledger has it.
        for lease in working:
            seat = rows.resident(lease.resident)
            if seat is not None and seat.measured is not None and lease.id not in peaks:
                peaks[lease.id] = seat.measured
        news = {v.id: peaks[v.id] for v in working if v.id in peaks and peaks[v.id] > (v.peak or 0)}
        if news:
            async with self._tools.db.session() as session:
                for lease_id, peak in news.items():
                    await session.execute(_PEAK, {"id": lease_id, "peak": peak})


def _peaks(
    working: Iterable[LeaseState], readings: dict[str, GpuReading], one: Callable[[str], bool]
) -> dict[str, int]:
    """Return what the processes of services hold that keep one model, lease by lease."""
    users: dict[tuple[str, str], list[LeaseState]] = defaultdict(list)
    for lease in working:
        if lease.service is not None:
            users[lease.card, lease.service].append(lease)
    found: dict[str, int] = {}
    for (card, service), leases in users.items():
        reading = readings.get(card)
        if reading is None or not one(service) or len(leases) != 1:
            continue
        sizes = [p.vram for p in reading.processes if p.service == service]
        known = [s for s in sizes if s is not None]
        if known and len(known) == len(sizes):
            found[leases[0].id] = sum(known)
    return found
