"""Which message on Discord asks about which approval."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from tools.discord.models import DiscordCard

if TYPE_CHECKING:
    from nebula.db.engine import Database


class Card(BaseModel):
    """A question's message."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    approval_id: str
    channel_id: str
    message_id: str
    discord_id: str
    expires_at: datetime


class Cards:
    """The questions that stand on Discord."""

    def __init__(self, db: "Database") -> None:
        """Take the database."""
        self._db = db

    async def note(self, card: Card) -> None:
        """Keep where a question stands."""
        async with self._db.session() as session:
            await session.execute(
                insert(DiscordCard).values(card.model_dump()).on_conflict_do_nothing()
            )

    async def of(self, approval_id: str) -> Card | None:
        """Return a question's message, if it has one."""
        async with self._db.session() as session:
            row = await session.get(DiscordCard, approval_id)
            return None if row is None else Card.model_validate(row)

    async def standing(self) -> Sequence[Card]:
        """Return the messages that still ask, the one that expires first in front."""
        query = select(DiscordCard).where(~DiscordCard.closed).order_by(DiscordCard.expires_at)
        async with self._db.session() as session:
            return [Card.model_validate(row) for row in await session.scalars(query.limit(500))]

    async def expired(self) -> Sequence[Card]:
        """Return the messages that still ask although their time is over."""
        query = select(DiscordCard).where(
            ~DiscordCard.closed, DiscordCard.expires_at <= func.clock_timestamp()
        )
        async with self._db.session() as session:
            return [Card.model_validate(row) for row in await session.scalars(query)]

    async def close(self, approval_id: str) -> None:
        """Note that a message asks no more."""
        change = update(DiscordCard).where(DiscordCard.approval_id == approval_id)
        async with self._db.session() as session:
            await session.execute(change.values(closed=True))
