"""Keeps the measurements of every model, a bounded number each, and estimates from them."""

import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.db.engine import Database
from nebula.gpu.footprints.estimate import (
    HALF_LIFE_SECONDS,
    Estimate,
    Sample,
    estimate,
    next_use,
)
from nebula.services.map import Target

KEPT: Final = 50
"""Measurements kept of a model and bucket; older ones are dropped."""
_FRESH_SECONDS: Final = 30.0

Key = tuple[str, str, str]

_RECORD = text(
    """
    INSERT INTO gpu_footprints (service, model, bucket, peak_vram, load_seconds, run_seconds)
    VALUES (:service, :model, :bucket, :peak_vram, :load_seconds, :run_seconds)
    """
)
_PRUNE = text(
    """
    DELETE FROM gpu_footprints WHERE service = :service AND model = :model AND bucket = :bucket
    AND id <= (SELECT id FROM gpu_footprints
        WHERE service = :service AND model = :model AND bucket = :bucket
        ORDER BY id DESC OFFSET :kept LIMIT 1)
    """
)
_USED = text(
    """
    INSERT INTO gpu_uses AS u (service, model, weight) VALUES (:service, :model, 1)
    ON CONFLICT (service, model) DO UPDATE SET at = clock_timestamp(), weight = 1 + u.weight
        * 0.5 ^ (extract(epoch FROM clock_timestamp() - u.at) / :half_life)::float8
    """
)
_SAMPLES = text(
    "SELECT service, model, bucket, peak_vram, load_seconds, run_seconds FROM gpu_footprints "
    "ORDER BY id"
)
_USES = text(
    "SELECT service, model, weight, extract(epoch FROM clock_timestamp() - at)::float8 "
    "FROM gpu_uses"
)


class Footprints:
    """What was measured, read again every half minute."""

    def __init__(self, db: Database) -> None:
        """Take the database; nothing is read before it is asked for."""
        self._db = db
        self._estimates: Mapping[Key, Estimate] = {}
        self._uses: Mapping[tuple[str, str], tuple[float, float]] = {}
        self._read_at = -_FRESH_SECONDS

    async def record(
        self,
        service: str,
        model: str | None,
        bucket: str = "",
        *,
        peak_vram: int | None = None,
        load_seconds: float | None = None,
        run_seconds: float | None = None,
        session: AsyncSession | None = None,
    ) -> None:
        """Keep a measurement; figures that nobody could give stay unknown."""
        if peak_vram is None and load_seconds is None and run_seconds is None:
            return
        if session is None:
            async with self._db.session() as own:
                await self._write(own, service, model, bucket, peak_vram, load_seconds, run_seconds)
        else:
            await self._write(session, service, model, bucket, peak_vram, load_seconds, run_seconds)

    async def _write(
        self,
        session: AsyncSession,
        service: str,
        model: str | None,
        bucket: str,
        *figures: float | None,
    ) -> None:
        key = {"service": service, "model": model or "", "bucket": bucket}
        measured = dict(zip(("peak_vram", "load_seconds", "run_seconds"), figures, strict=True))
        await session.execute(_RECORD, {**key, **measured})
        await session.execute(_PRUNE, {**key, "kept": KEPT})

    async def used(self, session: AsyncSession, service: str, model: str | None) -> None:
        """Count a use of a model."""
        values = {"service": service, "model": model or "", "half_life": HALF_LIFE_SECONDS}
        await session.execute(_USED, values)

    async def refresh(self, *, now: bool = False) -> None:
        """Read the measurements again when they may be old."""
        at = time.monotonic()
        if not now and at - self._read_at < _FRESH_SECONDS:
            return
        async with self._db.session() as session:
            samples = (await session.execute(_SAMPLES)).all()
            uses = (await session.execute(_USES)).all()
        grouped: dict[Key, list[Sample]] = defaultdict(list)
        for service, model, bucket, peak, load, run in samples:
            measured = Sample(peak_vram=peak, load_seconds=load, run_seconds=run)
            grouped[service, model, bucket].append(measured)
            if bucket:
                grouped[service, model, ""].append(measured)
        self._estimates = {key: estimate(found) for key, found in grouped.items()}
        self._uses = {(s, m): (weight, seconds - at) for s, m, weight, seconds in uses}
        self._read_at = at

    def estimate(self, target: Target, bucket: str = "") -> Estimate:
        """Return what is known of a model's use; of a new bucket, what its others took."""
        model = target.model or ""
        own = self._estimates.get((target.service, model, bucket))
        if own is not None and own.vram is not None:
            return own
        return self._estimates.get((target.service, model, ""), own or Estimate())

    def next_use(self, target: Target) -> float | None:
        """Return the chance, 0..1, that a model is wanted soon; None when it never was."""
        found = self._uses.get((target.service, target.model or ""))
        return None if found is None else next_use(found[0], found[1] + time.monotonic())
