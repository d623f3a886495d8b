"""What of which conversation is where on Discord: sessions, turns, and their messages."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict
from sqlalchemy import ColumnElement, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from memory.models import ConversationRow
from nebula.errors import Conflict
from tools.discord.models import DiscordSession, DiscordTurn

if TYPE_CHECKING:
    from memory.turns import Turn
    from nebula.db.bare import Statements
    from nebula.db.engine import Database

# The key decides: of two who heard the same message, one begins a turn.
_BEGIN = text(
    "INSERT INTO discord_turns (message_id, turn_id, session_id, discord_id, place, channel_id)"
    " VALUES (:message, :turn, :session, :discord, :place, :channel)"
    " ON CONFLICT (message_id) DO NOTHING RETURNING message_id"
)
_PLACE = text(
    "INSERT INTO discord_sessions (place, discord_id, session_id, guild_id, channel_id)"
    " VALUES (:place, :discord, :session, :guild, :channel) ON CONFLICT (place, discord_id)"
    " DO UPDATE SET session_id = excluded.session_id, used_at = now() RETURNING session_id"
)

State = Literal["open", "waiting", "shown"]


class AnsweredAlready(Conflict):
    """The message began a turn before; this time nothing is written."""


class Heard(BaseModel):
    """A message or command that is about to begin a turn."""

    model_config = ConfigDict(frozen=True)

    message_id: str
    discord_id: str
    place: str
    """What makes the session: the direct message, the thread, or the first message of a chain."""
    channel_id: str
    """Where the answer is shown."""
    guild_id: str | None = None


class ShownTurn(BaseModel):
    """A turn on Discord: who began it where, and which messages show its answer."""

    model_config = ConfigDict(from_attributes=True)

    message_id: str
    turn_id: str
    session_id: str
    discord_id: str
    place: str
    channel_id: str
    shown: list[str] = []
    settled: int = 0
    state: State = "open"


class Begins:
    """Notes a message within the transaction that begins its turn; `turn` is then known."""

    def __init__(self, heard: Heard) -> None:
        """Take the message."""
        self._heard = heard
        self.turn: ShownTurn | None = None

    async def __call__(self, statements: "Statements", turn: "Turn") -> None:
        """Write it down.

        Raises:
            AnsweredAlready: when the message began a turn before; then neither is written.
        """
        heard = self._heard
        values = {
            "message": heard.message_id,
            "turn": turn.id,
            "session": turn.session_id,
            "discord": heard.discord_id,
            "place": heard.place,
            "channel": heard.channel_id,
            "guild": heard.guild_id,
        }
        if await statements.scalar(_BEGIN, values) is None:
            raise AnsweredAlready("This message was answered already.")
        await statements.scalar(_PLACE, values)
        known = heard.model_dump(exclude={"guild_id"})
        self.turn = ShownTurn(turn_id=turn.id, session_id=turn.session_id, **known)


class Places:
    """The conversations of the Discord door."""

    def __init__(self, db: "Database") -> None:
        """Take the database."""
        self._db = db

    async def session_of(self, place: str, discord_id: str, owner: str) -> str | None:
        """Return somebody's session in a place, while they still own it."""
        query = (
            select(DiscordSession.session_id)
            .join(ConversationRow, ConversationRow.id == DiscordSession.session_id)
            .where(
                DiscordSession.place == place,
                DiscordSession.discord_id == discord_id,
                ConversationRow.owner == owner,
            )
        )
        async with self._db.session() as session:
            return await session.scalar(query)

    async def is_known(self, message_id: str) -> bool:
        """Say whether a message began a turn already."""
        async with self._db.session() as session:
            return await session.get(DiscordTurn, message_id) is not None

    async def has_session(self, place: str, discord_id: str) -> bool:
        """Say whether somebody talks with Jarvis in a place."""
        async with self._db.session() as session:
            return await session.get(DiscordSession, (place, discord_id)) is not None

    async def forget(self, place: str, discord_id: str) -> None:
        """Let the next message in a place begin a new session."""
        async with self._db.session() as session:
            row = await session.get(DiscordSession, (place, discord_id))
            if row is not None:
                await session.delete(row)

    async def turn_showing(self, message_id: str) -> ShownTurn | None:
        """Return the turn whose answer a message shows, if it is one."""
        return await self._one(DiscordTurn.shown.contains([message_id]))

    async def latest(self, session_id: str) -> ShownTurn | None:
        """Return the session's latest turn on Discord, None when it has none there."""
        return await self._one(DiscordTurn.session_id == session_id)

    async def unfinished(self, hours: float = 24.0) -> Sequence[ShownTurn]:
        """Return the turns whose answer is not shown to its end, oldest first."""
        young = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, hours * 3600)
        query = select(DiscordTurn).where(DiscordTurn.state != "shown", DiscordTurn.at > young)
        async with self._db.session() as session:
            rows = await session.scalars(query.order_by(DiscordTurn.at).limit(200))
            return [ShownTurn.model_validate(row) for row in rows]

    async def settle(self, turn: ShownTurn) -> ShownTurn:
        """Let what a turn shows so far stand; what comes now is shown below it."""
        change = update(DiscordTurn).where(DiscordTurn.turn_id == turn.turn_id)
        async with self._db.session() as session:
            settled = func.cardinality(DiscordTurn.shown)
            row = await session.scalar(change.values(settled=settled).returning(DiscordTurn))
            return turn if row is None else ShownTurn.model_validate(row)

    async def note_shown(self, turn_id: str, shown: Sequence[str], state: State) -> None:
        """Keep which messages show a turn, and whether that is all."""
        change = update(DiscordTurn).where(DiscordTurn.turn_id == turn_id)
        async with self._db.session() as session:
            await session.execute(change.values(shown=list(shown), state=state))

    async def note_report(self, turn: ShownTurn) -> None:
        """Keep that messages show a turn that began elsewhere, and whose conversation it is."""
        place = {
            "place": turn.place,
            "discord_id": turn.discord_id,
            "session_id": turn.session_id,
            "channel_id": turn.channel_id,
        }
        async with self._db.session() as session:
            await session.execute(
                insert(DiscordTurn).values(turn.model_dump()).on_conflict_do_nothing()
            )
            await session.execute(insert(DiscordSession).values(place).on_conflict_do_nothing())

    async def recent_channels(self, hours: float = 24.0) -> Sequence[tuple[str, str]]:
        """Return the channels that people lately talked in, each with its newest known message."""
        young = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, hours * 3600)
        newest = func.max(func.lpad(DiscordTurn.message_id, 20, "0"))
        query = (
            select(DiscordTurn.channel_id, newest)
            .where(DiscordTurn.at > young, DiscordTurn.message_id.regexp_match("^[0-9]+$"))
            .group_by(DiscordTurn.channel_id)
            .limit(50)
        )
        async with self._db.session() as session:
            rows = (await session.execute(query)).all()
        return [(channel, newest.lstrip("0")) for channel, newest in rows]

    async def _one(self, where: ColumnElement[bool]) -> ShownTurn | None:
        query = select(DiscordTurn).where(where).order_by(DiscordTurn.at.desc()).limit(1)
        async with self._db.session() as session:
            row = await session.scalar(query)
        return None if row is None else ShownTurn.model_validate(row)
