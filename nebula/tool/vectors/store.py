"""Reads and writes cached tool vectors; without a database, everything is computed again."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import structlog
from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert

from nebula.errors import NebulaError
from nebula.tool.vectors.models import ToolVectors

if TYPE_CHECKING:
    from nebula.db.engine import Database

log = structlog.get_logger(__name__)

Vectors = npt.NDArray[np.float32]


class VectorStore:
    """The cache in the database: one row per catalogue and embedding model."""

    def __init__(self, db: "Database | None") -> None:
        """Take the database, or None to cache nothing."""
        self._db = db

    async def load(self, catalogue: str, embedding: str, shape: tuple[int, int]) -> Vectors | None:
        """Return the cached vectors when they have the shape expected."""
        if self._db is None:
            return None
        query = select(ToolVectors.vectors).where(
            ToolVectors.catalogue == catalogue, ToolVectors.embedding == embedding
        )
        try:
            async with self._db.session() as session:
                stored = await session.scalar(query)
        except NebulaError as error:
            log.warning("tool vectors not read", reason=str(error))
            return None
        if stored is None or len(stored) != shape[0] * shape[1] * 4:
            return None
        return np.frombuffer(stored, np.float32).reshape(shape)

    async def save(self, catalogue: str, embedding: str, vectors: Vectors) -> None:
        """Store the vectors and forget catalogues that nobody made for a month."""
        if self._db is None:
            return
        row = {
            "catalogue": catalogue,
            "embedding": embedding,
            "vectors": vectors.astype(np.float32).tobytes(),
        }
        old = delete(ToolVectors).where(
            ToolVectors.used_at < func.now() - text("interval '30 days'")
        )
        try:
            async with self._db.session() as session:
                await session.execute(insert(ToolVectors).values(row).on_conflict_do_nothing())
                await session.execute(old)
        except NebulaError as error:
            log.warning("tool vectors not saved", reason=str(error))
