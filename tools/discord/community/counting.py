"""Counts of what happens on servers: gathered in memory, written now and then by one bot.

Of several bots on one database, each hears everything; the one that holds the row counts. What
was said is not kept, only how often somebody said something, and where.
"""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Literal, NamedTuple
from uuid import uuid4

from pydantic import BaseModel, ConfigDict
from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert

from tools.discord.models import DiscordCount

if TYPE_CHECKING:
    from nebula.db.engine import Database

CountKind = Literal["message", "join", "leave", "command"]
HELD_SECONDS = 30

_HOLD = text(
    "INSERT INTO discord_counter (one, holder, until) VALUES (true, :me,"
    " clock_timestamp() + make_interval(secs => :seconds)) ON CONFLICT (one) DO UPDATE"
    " SET holder = excluded.holder, until = excluded.until WHERE discord_counter.holder = :me"
    " OR discord_counter.until < clock_timestamp() RETURNING true"
)
_RELEASE = text("DELETE FROM discord_counter WHERE holder = :me RETURNING true")
_ADD = text(
    "INSERT INTO discord_counts (guild_id, day, kind, key, count)"
    " SELECT guild_id, day, kind, key, count FROM jsonb_to_recordset(CAST(:rows AS jsonb))"
    " AS new(guild_id text, day date, kind text, key text, count int)"
    " ON CONFLICT (guild_id, day, kind, key) DO UPDATE"
    " SET count = discord_counts.count + excluded.count"
)


class _What(NamedTuple):
    guild_id: str
    day: str
    kind: str
    key: str


class Counted(BaseModel):
    """How many of something there were on a day."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    day: date
    kind: CountKind
    key: str
    count: int


class Tally:
    """What was counted since it was last written down."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._me = uuid4().hex
        self._counts: Counter[_What] = Counter()

    def add(self, guild_id: str, kind: CountKind, key: str = "") -> None:
        """Count one more; costs nothing outside memory."""
        day = datetime.now(UTC).date().isoformat()
        self._counts[_What(guild_id, day, kind, key)] += 1

    async def write(self, db: "Database") -> int:
        """Write down what was counted, when it is this bot that counts; return how much."""
        counts, self._counts = self._counts, Counter()
        async with db.bare() as bare:
            held = await bare.scalar(_HOLD, {"me": self._me, "seconds": HELD_SECONDS})
            if not held or not counts:
                return 0
            rows = [{**what._asdict(), "count": count} for what, count in counts.items()]
            await bare.execute(_ADD, {"rows": json.dumps(rows)})
        return sum(counts.values())

    async def release(self, db: "Database") -> None:
        """Let another bot count from now on."""
        async with db.bare() as bare:
            await bare.scalar(_RELEASE, {"me": self._me})


class Counts:
    """What is written down."""

    def __init__(self, db: "Database") -> None:
        """Take the database."""
        self._db = db

    async def used(self, guild_id: str, command: str) -> int:
        """Count a use of a command, and return how many there were with this one."""
        made = insert(DiscordCount).values(
            guild_id=guild_id, day=datetime.now(UTC).date(), kind="command", key=command, count=1
        )
        made = made.on_conflict_do_update(
            index_elements=["guild_id", "day", "kind", "key"],
            set_={"count": DiscordCount.count + 1},
        )
        total = select(func.coalesce(func.sum(DiscordCount.count), 0)).where(
            DiscordCount.guild_id == guild_id,
            DiscordCount.kind == "command",
            DiscordCount.key == command,
        )
        async with self._db.session() as session:
            await session.execute(made)
            return int(await session.scalar(total) or 0)

    async def since(self, guild_id: str, first: date) -> Sequence[Counted]:
        """Return everything of a server from a day on."""
        query = select(DiscordCount).where(
            DiscordCount.guild_id == guild_id, DiscordCount.day >= first
        )
        async with self._db.session() as session:
            rows = await session.scalars(query.order_by(DiscordCount.day))
            return [Counted.model_validate(row) for row in rows]

    async def prune(self, days: int) -> None:
        """Forget what is older than so many days."""
        old = DiscordCount.day < func.current_date() - days
        async with self._db.session() as session:
            await session.execute(delete(DiscordCount).where(old))
