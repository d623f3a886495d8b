"""What the community bot does on which server, and as whom."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from nebula.auth.grant import Grant
from nebula.auth.principal import Principal, Role
from nebula.errors import InvalidInput
from tools.discord.community.rules import Community
from tools.discord.models import DiscordCommunity, DiscordServer

if TYPE_CHECKING:
    from nebula.db.engine import Database

ACTS = Grant(frozenset({"discord:write"}))
"""All that the bot may do by itself: carry out what a server's settings say."""


class Kept(BaseModel):
    """A server's community settings with whoever stands behind them."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    guild_id: str
    settings: Community = Community()
    owner_id: str = ""
    owner_name: str = ""
    key_id: str | None = None
    revision: int = 0
    changed_at: datetime | None = None

    def acting(self) -> Principal:
        """Return whom the bot acts as: whoever set it, with one right, read anew at each call."""
        return Principal(
            id=self.owner_id,
            name=self.owner_name,
            role=Role.CLIENT,
            permissions=frozenset(),
            key_id=self.key_id,
            frozen=ACTS,
        )


class Communities:
    """The settings of all servers."""

    def __init__(self, db: "Database") -> None:
        """Take the database."""
        self._db = db

    async def of(self, guild_id: str) -> Kept:
        """Return a server's settings; everything is off when nothing was set."""
        async with self._db.session() as session:
            row = await session.get(DiscordCommunity, guild_id)
            return Kept(guild_id=guild_id) if row is None else Kept.model_validate(row)

    async def all(self) -> list[Kept]:
        """Return the settings of every server the bot is on."""
        query = select(DiscordCommunity).join(
            DiscordServer, DiscordServer.guild_id == DiscordCommunity.guild_id
        )
        async with self._db.session() as session:
            rows = await session.scalars(query.where(DiscordServer.present))
            return [Kept.model_validate(row) for row in rows]

    async def changed(self) -> tuple[int, int]:
        """Return what differs whenever any server's settings do; one small statement."""
        query = select(func.count(), func.coalesce(func.sum(DiscordCommunity.revision), 0))
        async with self._db.session() as session:
            count, revisions = (await session.execute(query)).one()
            return int(count), int(revisions)

    async def change(
        self, guild_id: str, by: Principal, change: Callable[[Community], Community]
    ) -> Kept:
        """Change a server's settings; from now on the bot acts there as whoever changed them.

        Raises:
            InvalidInput: when the result is not what settings can be.
        """
        values = {"owner_id": by.id, "owner_name": by.name, "key_id": by.key_id}
        async with self._db.session() as session:
            blank = insert(DiscordCommunity).values(guild_id=guild_id, settings={}, **values)
            await session.execute(blank.on_conflict_do_nothing())
            row = await session.get(DiscordCommunity, guild_id, with_for_update=True)
            assert row is not None
            try:
                made = change(Community.model_validate(row.settings))
                # Checked as a whole: copies with changed fields are not.
                made = Community.model_validate(made.model_dump(mode="json"))
            except ValidationError as error:
                raise _problem(error) from error
            row.settings = made.model_dump(mode="json", exclude_defaults=True)
            row.revision += 1
            row.changed_at = func.now()
            for name, value in values.items():
                setattr(row, name, value)
            await session.flush()
            await session.refresh(row)
            return Kept.model_validate(row)


def _problem(error: ValidationError) -> InvalidInput:
    first = error.errors()[0]
    where = ".".join(str(each) for each in first["loc"])
    return InvalidInput(f"{where}: {str(first['msg']).removeprefix('Value error, ')}")
