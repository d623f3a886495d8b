"""Picks a provider's models for each tier when nobody named one: pure rules over a list."""

from collections.abc import Sequence
from typing import Final, Literal

from nebula.llm.provider import Model

Tier = Literal["small", "large", "vision", "embed"]
TIERS: Final[tuple[Tier, ...]] = ("small", "large", "vision", "embed")

_COMFORTABLE: Final = 16.0
"""Billions of parameters that a card of 12 to 16 GB still runs quantised."""
_QUICK: Final = 5.0
_USABLE: Final = 1.0
"""Below this, models seldom call tools well."""
_KNOWN: Final[dict[Tier, tuple[str, ...]]] = {
    "small": ("gpt-5-mini", "gpt-4.1-mini", "gpt-4o-mini"),
    "large": ("gpt-5", "gpt-4.1", "gpt-4o"),
    "vision": ("gpt-5-mini", "gpt-4.1-mini", "gpt-4o-mini"),
    "embed": ("text-embedding-3-small",),
}


def choose(tier: Tier, models: Sequence[Model], *, most: int = 2) -> list[str]:
    """Return up to `most` model names for a tier, best first."""
    if tier == "embed":
        fitting = [model for model in models if model.embedding]
    elif tier == "vision":
        fitting = [model for model in models if model.vision]
    else:
        fitting = [model for model in models if model.tools and not model.embedding]
    known = [name for name in _KNOWN[tier] if any(model.name == name for model in fitting)]
    by_size = sorted(fitting, key=lambda model: (_rank(tier, model.size), model.name))
    return list(dict.fromkeys([*known, *(model.name for model in by_size)]))[:most]


def _rank(tier: Tier, size: float) -> tuple[int, float]:
    """Order sizes: large takes the biggest comfortable one, the others the smallest usable one."""
    if tier == "embed":
        return (0, size)
    if size == 0.0:
        return (2, 0.0)
    if tier == "large":
        return (0, -size) if size <= _COMFORTABLE else (1, size)
    if size < _USABLE:
        return (3, -size)
    return (0, -size) if size <= _QUICK else (1, size)
