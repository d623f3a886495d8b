"""The servers the bot is in, how it behaves on each, and how the bot itself is."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from nebula.errors import InvalidInput, NotFound
from tools.discord.models import DiscordBot, DiscordServer
from tools.discord.schemas import BotState, Server

if TYPE_CHECKING:
    from nebula.db.engine import Database


class Servers:
    """What is known of servers and of the bot, whichever process it runs in."""

    def __init__(self, db: "Database") -> None:
        """Take the database."""
        self._db = db

    async def all(self) -> list[Server]:
        """Return the servers the bot is in, by name."""
        query = select(DiscordServer).where(DiscordServer.present).order_by(DiscordServer.name)
        async with self._db.session() as session:
            return [_shown(row) for row in await session.scalars(query)]

    async def of(self, guild_id: str) -> Server | None:
        """Return what is known of one server."""
        async with self._db.session() as session:
            row = await session.get(DiscordServer, guild_id)
            return None if row is None else _shown(row)

    async def find(self, server: str) -> Server:
        """Return a server by id or name, or the only one there is when nothing is said.

        Raises:
            NotFound: when there is none like that.
            InvalidInput: when several are meant.
        """
        known = await self.all()
        wanted = server.strip().casefold()
        found = [s for s in known if not wanted or wanted in {s.guild_id, s.name.casefold()}]
        if len(found) == 1:
            return found[0]
        names = ", ".join(f"{s.name} ({s.guild_id})" for s in known)
        if found:
            raise InvalidInput("Say which server", hint=f"Servers: {names}.")
        raise NotFound(
            f"The bot is on no server {server!r}" if server else "The bot is on no server",
            hint=f"Servers: {names}." if names else "Invite it: see the manual, “Discord”.",
        )

    async def change(self, guild_id: str, values: Mapping[str, Any]) -> Server:
        """Change how the bot behaves on a server."""
        change = update(DiscordServer).where(DiscordServer.guild_id == guild_id)
        async with self._db.session() as session:
            row = await session.scalar(
                change.values(**values, changed_at=func.now()).returning(DiscordServer)
            )
            if row is None:
                raise NotFound("The bot is on no such server")
            return _shown(row)

    async def joined(self, guild_id: str, name: str) -> None:
        """Note a server the bot is in."""
        made = insert(DiscordServer).values(guild_id=guild_id, name=name)
        made = made.on_conflict_do_update(
            index_elements=["guild_id"], set_={"name": name, "present": True}
        )
        async with self._db.session() as session:
            await session.execute(made)

    async def left(self, guild_id: str) -> None:
        """Note that the bot is no longer in a server; how it behaved there is kept."""
        gone = update(DiscordServer).where(DiscordServer.guild_id == guild_id)
        async with self._db.session() as session:
            await session.execute(gone.values(present=False))

    async def bot(self) -> BotState:
        """Return how the bot is."""
        async with self._db.session() as session:
            row = await session.get(DiscordBot, True)
        return BotState() if row is None else BotState.model_validate(row, from_attributes=True)

    async def note_bot(self, **values: str) -> None:
        """Keep something about the bot: its state, its problem, the commands Discord has."""
        made = insert(DiscordBot).values(one=True, **values)
        made = made.on_conflict_do_update(index_elements=["one"], set_={**values, "at": func.now()})
        async with self._db.session() as session:
            await session.execute(made)


def _shown(row: DiscordServer) -> Server:
    return Server.model_validate(row, from_attributes=True)
