"""Which message on Discord follows which background job."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from tools.discord.models import DiscordJob

if TYPE_CHECKING:
    from nebula.db.engine import Database


class Followed(BaseModel):
    """A job's message."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    job_id: str
    channel_id: str
    discord_id: str
    message_id: str = ""
    """Empty until it is posted."""


class FollowedJobs:
    """The jobs that are followed on Discord."""

    def __init__(self, db: "Database") -> None:
        """Take the database."""
        self._db = db

    async def note(self, followed: Followed) -> None:
        """Keep where a job is followed."""
        made = insert(DiscordJob).values(followed.model_dump())
        async with self._db.session() as session:
            await session.execute(made.on_conflict_do_nothing())

    async def posted(self, followed: Followed, message_id: str) -> Followed:
        """Keep which message it became."""
        change = update(DiscordJob).where(
            DiscordJob.job_id == followed.job_id, DiscordJob.channel_id == followed.channel_id
        )
        async with self._db.session() as session:
            await session.execute(change.values(message_id=message_id))
        return followed.model_copy(update={"message_id": message_id})

    async def is_known(self, job_id: str, channel_id: str) -> bool:
        """Say whether a job has a message in a channel, or had one."""
        async with self._db.session() as session:
            return await session.get(DiscordJob, (job_id, channel_id)) is not None

    async def standing(self) -> Sequence[Followed]:
        """Return the messages whose job had not ended when they were last changed."""
        query = select(DiscordJob).where(~DiscordJob.closed).order_by(DiscordJob.at.desc())
        async with self._db.session() as session:
            rows = await session.scalars(query.limit(200))
            return [Followed.model_validate(row) for row in rows]

    async def close(self, followed: Followed) -> None:
        """Note that a message changes no more."""
        change = update(DiscordJob).where(
            DiscordJob.job_id == followed.job_id, DiscordJob.channel_id == followed.channel_id
        )
        async with self._db.session() as session:
            await session.execute(change.values(closed=True))
