"""Which model a person chose for a tier: rows, so that every process follows."""

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from nebula.llm.models import LlmChoice
from nebula.llm.provider import AUTO

if TYPE_CHECKING:
    from nebula.db.engine import Database


class ModelChoices:
    """Reads and writes the choices."""

    def __init__(self, db: "Database") -> None:
        """Take where they are kept."""
        self._db = db

    async def read(self) -> dict[str, str]:
        """Return the choice of each tier that has one.

        Raises:
            UpstreamUnavailable: when the database does not answer.
        """
        async with self._db.session() as session:
            rows = (await session.execute(select(LlmChoice.tier, LlmChoice.choice))).all()
        return {tier: choice for tier, choice in rows}

    async def write(self, tier: str, choice: str, *, by: str) -> None:
        """Keep a choice; `auto` forgets it."""
        async with self._db.session() as session:
            if choice == AUTO:
                await session.execute(delete(LlmChoice).where(LlmChoice.tier == tier))
                return
            row = {"choice": choice, "changed_by": by, "changed_at": func.clock_timestamp()}
            statement = insert(LlmChoice).values(tier=tier, **row)
            await session.execute(
                statement.on_conflict_do_update(index_elements=["tier"], set_=row)
            )
