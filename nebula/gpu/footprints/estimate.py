"""Turns measurements into figures to plan with: quantiles with a safety margin. Pure."""

import math
from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict

ENOUGH: Final = 3
"""So many measurements replace the budget of the service map."""
QUANTILE: Final = 0.95
MARGIN: Final = 1.05
"""What is measured may be exceeded a little the next time: allocators keep fragments."""
HALF_LIFE_SECONDS: Final = 3600.0
"""A use counts half after this long."""
HORIZON_SECONDS: Final = 600.0
"""How far ahead the chance of a next use looks."""


class Sample(BaseModel):
    """One measured use: bytes at its peak, seconds to load and to run; None = not measured."""

    model_config = ConfigDict(frozen=True)

    peak_vram: int | None = None
    load_seconds: float | None = None
    run_seconds: float | None = None


class Estimate(BaseModel):
    """What a use of a model will probably take; None = too little is known."""

    model_config = ConfigDict(frozen=True)

    vram: int | None = None
    load_seconds: float | None = None
    run_seconds: float | None = None
    samples: int = 0


def estimate(samples: Sequence[Sample]) -> Estimate:
    """Return the estimate of what was measured; too few measurements say nothing."""
    peaks = [float(s.peak_vram) for s in samples if s.peak_vram is not None]
    loads = [s.load_seconds for s in samples if s.load_seconds is not None]
    runs = [s.run_seconds for s in samples if s.run_seconds is not None]
    vram = quantile(peaks, QUANTILE) if len(peaks) >= ENOUGH else None
    return Estimate(
        vram=None if vram is None else math.ceil(vram * MARGIN),
        load_seconds=quantile(loads, 0.5) if len(loads) >= ENOUGH else None,
        run_seconds=quantile(runs, QUANTILE) if len(runs) >= ENOUGH else None,
        samples=len(samples),
    )


def quantile(values: Sequence[float], q: float) -> float:
    """Return the value that a share `q` of the values does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


def decayed(weight: float, seconds: float) -> float:
    """Return what is left of a decaying count of uses after a time without any."""
    return float(weight * 0.5 ** (max(0.0, seconds) / HALF_LIFE_SECONDS))


def next_use(weight: float, seconds: float) -> float:
    """Return the chance of a use within the horizon, for a count and the time since its last use.

    Uses are taken to come at random at the rate that the count shows (a Poisson process): a count
    that halves every hour is in balance at rate × half-life ÷ ln 2.
    """
    rate = decayed(weight, seconds) * math.log(2) / HALF_LIFE_SECONDS
    return 1.0 - math.exp(-rate * HORIZON_SECONDS)
