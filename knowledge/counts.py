"""How much a reader may read, remembered for a moment: it decides only how a search is made.

What may be found is decided by the search itself, row by row, every time.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from knowledge.queries import COUNTED, USUAL

if TYPE_CHECKING:
    from nebula.db.bare import Bare
    from nebula.db.engine import Database

_FRESH_SECONDS = 1.0
_USUAL_SECONDS = 60.0
_MOST = 1_000


@dataclass(frozen=True)
class Counts:
    """Passages that a reader may read, passages in all, and readable documents."""

    readable: int
    total: int
    documents: int


class Memory:
    """What is remembered of one database."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._counts: dict[tuple[object, ...], tuple[float, Counts]] = {}
        self._usual: tuple[float, dict[str, Any]] = (0.0, {})

    async def counts(self, db: "Bare", reader: Mapping[str, object]) -> Counts:
        """Return how much there is for a reader and their filters; at most a second old."""
        key = tuple(reader.values())
        until, known = self._counts.get(key, (0.0, None))
        now = time.monotonic()
        if known is None or now >= until:
            row = await (await db.execute(COUNTED, reader)).fetchone()
            known = Counts(*(row or (0, 0, 0)))
            if len(self._counts) >= _MOST:
                self._counts.clear()
            self._counts[key] = (now + _FRESH_SECONDS, known)
        return known

    async def usual(self, db: "Bare") -> dict[str, Any]:
        """Return how common words are; at most a minute old."""
        until, known = self._usual
        now = time.monotonic()
        if now >= until:
            known = await db.scalar(USUAL, {}) or {}
            self._usual = (now + _USUAL_SECONDS, known)
        return known


_MEMORIES: "WeakKeyDictionary[Database, Memory]" = WeakKeyDictionary()


def memory_of(db: "Database") -> Memory:
    """Return what is remembered of a database; searches are made anew for every call."""
    return _MEMORIES.setdefault(db, Memory())
