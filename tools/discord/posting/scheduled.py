"""Messages that wait for their time: the text is kept here, a schedule posts it."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from nebula.auth.principal import Principal
from nebula.auth.tokens import new_id
from nebula.errors import InvalidInput, NotFound
from nebula.jobs.schedules.schedule import Missed, Schedule
from nebula.jobs.schedules.service import Options
from nebula.jobs.schedules.timing import Cron, Once
from tools.discord.finding import Place
from tools.discord.models import DiscordMessage
from tools.discord.posting.schemas import Scheduled

if TYPE_CHECKING:
    from nebula.app import Parts

MOST = 100
_ADMIN = "discord:admin"


class Messages:
    """The scheduled messages of a program."""

    def __init__(self, parts: "Parts") -> None:
        """Take the database and the schedules."""
        self._parts = parts

    async def make(
        self, owner: Principal, guild_id: str, place: Place, text: str, timing: Cron | Once
    ) -> Scheduled:
        """Keep a message and let a schedule post it, with the rights its owner has now."""
        if len(await self._rows(owner)) >= MOST:
            raise InvalidInput(f"At most {MOST} messages can wait", hint="Cancel some first.")
        row = DiscordMessage(
            id=new_id("msg"),
            guild_id=guild_id,
            channel_id=place.id,
            channel_name=place.name,
            text=text,
            owner_id=owner.id,
        )
        schedule = await self._parts.schedules.create(
            owner,
            f"Discord message in {place.name}"[:100],
            tool="discord_post",
            arguments={"message": row.id},
            timing=timing,
            options=Options(missed=Missed.ONCE, grace_seconds=600.0),
        )
        row.schedule_id = schedule.id
        async with self._parts.db.session() as session:
            session.add(row)
            await session.flush()
        return _shown(row, schedule)

    async def get(self, message_id: str) -> DiscordMessage:
        """Return a message; raises NotFound."""
        async with self._parts.db.session() as session:
            row = await session.get(DiscordMessage, message_id)
            if row is None:
                raise NotFound(f"There is no scheduled message {message_id!r}")
            session.expunge(row)
            return row

    async def list(self, principal: Principal, guild_id: str | None = None) -> list[Scheduled]:
        """Return one's own messages, or everybody's for who may set servers."""
        found = []
        for row in await self._rows(principal, guild_id):
            try:
                found.append(_shown(row, await self._schedule(row, principal)))
            except NotFound:
                continue
        return found

    async def cancel(self, message_id: str, principal: Principal) -> None:
        """Post a message no more; raises NotFound, also when it is somebody else's."""
        row = await self.get(message_id)
        if row.owner_id != principal.id and not principal.can(_ADMIN):
            raise NotFound(f"There is no scheduled message {message_id!r}")
        if row.schedule_id is not None:
            with suppress(NotFound):
                await self._parts.schedules.delete(row.schedule_id, principal)
        async with self._parts.db.session() as session:
            await session.execute(delete(DiscordMessage).where(DiscordMessage.id == message_id))

    async def _schedule(self, row: DiscordMessage, principal: Principal) -> Schedule:
        if row.schedule_id is None:
            raise NotFound("It has no schedule")
        return await self._parts.schedules.get(row.schedule_id, principal)

    async def _rows(
        self, principal: Principal, guild_id: str | None = None
    ) -> Sequence[DiscordMessage]:
        query = select(DiscordMessage).order_by(DiscordMessage.created_at)
        if not principal.can(_ADMIN):
            query = query.where(DiscordMessage.owner_id == principal.id)
        if guild_id is not None:
            query = query.where(DiscordMessage.guild_id == guild_id)
        async with self._parts.db.session() as session:
            rows = list(await session.scalars(query))
            session.expunge_all()
            return rows


def timing_of(cron: str | None, timezone: str, at: datetime | None) -> Cron | Once:
    """Return when a message is posted; raises InvalidInput unless exactly one is given."""
    if (cron is None) == (at is None):
        raise InvalidInput("Say either cron or at", hint="cron '0 9 * * 1' is Mondays at nine.")
    if at is not None:
        if at <= datetime.now(UTC):
            raise InvalidInput("That moment is over", hint="Give a later one.")
        return Once(at=at)
    try:
        return Cron(expression=str(cron), timezone=timezone)
    except ValueError as error:
        hint = "Five fields: minute, hour, day of the month, month, day of the week."
        raise InvalidInput(f"The schedule {cron!r} is none", hint=hint) from error


def _shown(row: DiscordMessage, schedule: Schedule) -> Scheduled:
    match schedule.timing:
        case Cron(expression=expression, timezone=zone):
            when = f"{expression} ({zone})"
        case Once(at=at):
            when = f"once, {at:%Y-%m-%d %H:%M} UTC"
        case _:
            when = "now and then"
    return Scheduled(
        id=row.id,
        channel=row.channel_name,
        text=row.text,
        when=when,
        next_at=schedule.next_fire_at if schedule.enabled else None,
    )
