"""The record of what the bot does on servers: each thing once, whoever decides it how often."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict
from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from nebula.errors import NotFound
from tools.discord.models import DiscordAction

if TYPE_CHECKING:
    from nebula.db.engine import Database

Kind = Literal[
    "warn",
    "delete",
    "timeout",
    "kick",
    "ban",
    "untimeout",
    "unban",
    "role",
    "welcome",
    "reply",
    "verification",
    "calm",
    "post",
    "poll",
]
State = Literal["due", "doing", "done", "told", "failed", "undone", "dropped"]

MODERATION = ("warn", "delete", "timeout", "kick", "ban", "untimeout", "unban", "verification")
_STUCK = timedelta(seconds=60)
MOST_TRIES = 5


class Action(BaseModel):
    """One thing to do, or done."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    id: str
    guild_id: str
    kind: Kind
    target_id: str = ""
    target_name: str = ""
    channel_id: str | None = None
    rule: str = ""
    reason: str = ""
    detail: dict[str, Any] = {}
    offence: bool = False
    by: str = ""
    state: State = "due"
    problem: str = ""
    tries: int = 0
    not_before: datetime | None = None
    at: datetime | None = None


def action_id(*what: str) -> str:
    """Return the id of something decided: the same for the same cause, in every process."""
    return f"act_{hashlib.sha256('|'.join(what).encode()).hexdigest()[:20]}"


class Actions:
    """The record of a program."""

    def __init__(self, db: "Database") -> None:
        """Take the database."""
        self._db = db

    async def decide(self, action: Action, after: timedelta = timedelta()) -> bool:
        """Put something on record as due; False when it is there already."""
        values = action.model_dump(exclude={"not_before", "at"})
        made = insert(DiscordAction).values(
            **values, not_before=func.clock_timestamp() + after, at=func.clock_timestamp()
        )
        made = made.on_conflict_do_nothing().returning(DiscordAction.id)  # type: ignore[assignment]
        async with self._db.session() as session:
            return await session.scalar(made) is not None

    async def take(self, action_id: str) -> Action | None:
        """Take something up that is due; of many who try, one gets it."""
        now = func.clock_timestamp()
        mine = (
            update(DiscordAction)
            .where(DiscordAction.id == action_id, DiscordAction.not_before <= now, _open())
            .values(state="doing", tries=DiscordAction.tries + 1, not_before=now + _STUCK)
            .returning(DiscordAction)
        )
        async with self._db.session() as session:
            row = await session.scalar(mine)
            return None if row is None else Action.model_validate(row)

    async def due(self, limit: int = 50) -> Sequence[Action]:
        """Return what is due and nobody has taken up, or not brought to its end."""
        query = (
            select(DiscordAction)
            .where(DiscordAction.not_before <= func.clock_timestamp(), _open())
            .order_by(DiscordAction.not_before)
            .limit(limit)
        )
        async with self._db.session() as session:
            return [Action.model_validate(row) for row in await session.scalars(query)]

    async def end(self, action_id: str, state: State, problem: str = "") -> Action:
        """Write down how something ended; raises NotFound."""
        return await self._set(action_id, state=state, problem=problem[:500])

    async def later(self, action_id: str, seconds: float, problem: str = "") -> Action:
        """Let something be tried again after a while."""
        moment = func.clock_timestamp() + timedelta(seconds=seconds)
        return await self._set(action_id, state="due", not_before=moment, problem=problem[:500])

    async def note(self, action_id: str, detail: dict[str, Any]) -> Action:
        """Keep more about something."""
        return await self._set(action_id, detail=DiscordAction.detail.op("||")(detail))

    async def get(self, action_id: str) -> Action:
        """Return one; raises NotFound."""
        async with self._db.session() as session:
            row = await session.get(DiscordAction, action_id)
            if row is None:
                raise _unknown(action_id)
            return Action.model_validate(row)

    async def list(
        self,
        guild_id: str,
        *,
        target: str = "",
        kinds: Sequence[str] = MODERATION,
        limit: int = 50,
    ) -> list[Action]:
        """Return the latest, newest first; of one person by id or name when one is named."""
        query = select(DiscordAction).where(
            DiscordAction.guild_id == guild_id, DiscordAction.kind.in_(kinds)
        )
        if target:
            name = func.lower(DiscordAction.target_name)
            query = query.where(or_(DiscordAction.target_id == target, name == target.lower()))
        async with self._db.session() as session:
            rows = await session.scalars(query.order_by(DiscordAction.at.desc()).limit(limit))
            return [Action.model_validate(row) for row in rows]

    async def strikes(self, guild_id: str, target_id: str, hours: int, *, told: bool) -> int:
        """Return how many offences of somebody still count; `told` counts what was only told."""
        without = ("undone", "dropped", "failed", *(() if told else ("told",)))
        query = (
            select(func.count())
            .select_from(DiscordAction)
            .where(
                DiscordAction.guild_id == guild_id,
                DiscordAction.target_id == target_id,
                DiscordAction.offence,
                DiscordAction.state.not_in(without),
                DiscordAction.at > func.clock_timestamp() - timedelta(hours=hours),
            )
        )
        async with self._db.session() as session:
            return int(await session.scalar(query) or 0)

    async def prune(self, days: int) -> None:
        """Forget what ended long ago."""
        old = DiscordAction.at < func.clock_timestamp() - timedelta(days=days)
        async with self._db.session() as session:
            await session.execute(delete(DiscordAction).where(old, ~_open()))

    async def _set(self, action_id: str, **values: Any) -> Action:
        change = update(DiscordAction).where(DiscordAction.id == action_id).values(**values)
        async with self._db.session() as session:
            row = await session.scalar(change.returning(DiscordAction))
            if row is None:
                raise _unknown(action_id)
            return Action.model_validate(row)


def _open() -> ColumnElement[bool]:
    return DiscordAction.state.in_(("due", "doing"))


def _unknown(action_id: str) -> NotFound:
    return NotFound(f"There is no action {action_id!r}", hint="See /discord_list_actions.")
