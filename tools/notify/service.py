"""The rules of channels: what is stored, who is written to, and how outcomes are told."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import httpx
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from nebula.errors import InvalidInput, NotFound
from nebula.secrets.vault import Vault
from tools.notify import discord, mail, others
from tools.notify.addresses import parse
from tools.notify.models import NotifyChannel
from tools.notify.schemas import Channel, Delivery, Kind, Message, Outcome

if TYPE_CHECKING:
    from nebula.db.engine import Database


class Channels:
    """The configured channels of this installation."""

    def __init__(self, db: "Database", vault: Vault, http: httpx.AsyncClient) -> None:
        """Take the database, what opens sealed addresses, and the client to post with."""
        self._db = db
        self._vault = vault
        self._http = http

    async def all(self) -> list[Channel]:
        """Return every channel by name, addresses left out."""
        async with self._db.session() as session:
            rows = await session.scalars(select(NotifyChannel).order_by(NotifyChannel.name))
            return [_shown(row) for row in rows]

    async def put(self, name: str, address: str, *, enabled: bool) -> Channel:
        """Make a channel or replace it.

        Raises:
            InvalidInput: when the address is none.
        """
        parsed = await asyncio.to_thread(parse, address)
        values = {
            "kind": parsed.kind.value,
            "sealed": await self._vault.seal(address.strip()),
            "target": parsed.shown,
            "enabled": enabled,
            "changed_at": func.now(),
        }
        made = insert(NotifyChannel).values(name=name, **values)
        made = made.on_conflict_do_update(index_elements=["name"], set_=values)
        async with self._db.session() as session:
            row = await session.scalar(made.returning(NotifyChannel))
            assert row is not None
            return _shown(row)

    async def enable(self, name: str, enabled: bool) -> None:
        """Switch a channel on or off; raises NotFound when there is none of that name."""
        change = update(NotifyChannel).where(NotifyChannel.name == name).values(enabled=enabled)
        async with self._db.session() as session:
            found = await session.scalar(change.returning(NotifyChannel.name))
        if found is None:
            raise await self._unknown([name])

    async def remove(self, name: str) -> None:
        """Forget a channel and its address; raises NotFound when there is none of that name."""
        gone = delete(NotifyChannel).where(NotifyChannel.name == name)
        async with self._db.session() as session:
            found = await session.scalar(gone.returning(NotifyChannel.name))
        if found is None:
            raise await self._unknown([name])

    async def deliver(self, names: Sequence[str], message: Message) -> list[Delivery]:
        """Send to every named channel at once; each gets its own outcome, in the order named.

        Raises:
            NotFound: when a name is no channel; then nothing is sent at all.
            InvalidInput: when none is named and there is more than one.
        """
        rows = await self._chosen(names)
        deliveries = await asyncio.gather(*(self._one(row, message) for row in rows))
        await self._note(deliveries)
        return deliveries

    async def _chosen(self, names: Sequence[str]) -> Sequence[NotifyChannel]:
        async with self._db.session() as session:
            known = {row.name: row for row in await session.scalars(select(NotifyChannel))}
        if not known:
            raise NotFound(
                "No channel is configured", hint="Add one with /notify_set_channel first."
            )
        if not names:
            if len(known) > 1:
                raise InvalidInput(
                    "Say which channel", hint=f"Channels: {', '.join(sorted(known))}."
                )
            return list(known.values())
        by_folded = {name.casefold(): row for name, row in known.items()}
        missing = [name for name in names if name.casefold() not in by_folded]
        if missing:
            raise await self._unknown(missing)
        return [by_folded[name] for name in dict.fromkeys(n.casefold() for n in names)]

    async def _unknown(self, names: Sequence[str]) -> NotFound:
        known = ", ".join(channel.name for channel in await self.all()) or "none yet"
        said = ", ".join(repr(name) for name in names)
        return NotFound(f"There is no channel {said}", hint=f"Channels: {known}.")

    async def _one(self, row: NotifyChannel, message: Message) -> Delivery:
        if not row.enabled:
            return Delivery(channel=row.name, outcome=Outcome.FAILED, detail="It is switched off")
        address = await self._vault.open(row.sealed)
        outcome, detail = await self._sent(Kind(row.kind), address, message)
        return Delivery(channel=row.name, outcome=outcome, detail=detail)

    async def _sent(self, kind: Kind, address: str, message: Message) -> tuple[Outcome, str]:
        parsed = await asyncio.to_thread(parse, address)
        if kind is Kind.DISCORD and parsed.webhook is not None:
            return await discord.post(self._http, parsed.webhook, message)
        if kind is Kind.EMAIL and parsed.mailbox is not None:
            return await asyncio.to_thread(mail.send, parsed.mailbox, message)
        return await others.send(address, message)

    async def _note(self, deliveries: Sequence[Delivery]) -> None:
        async with self._db.session() as session:
            for each in sorted(deliveries, key=lambda delivery: delivery.channel):
                await session.execute(
                    update(NotifyChannel)
                    .where(NotifyChannel.name == each.channel)
                    .values(last_outcome=each.outcome.value, last_used_at=func.now())
                )


def _shown(row: NotifyChannel) -> Channel:
    return Channel(
        name=row.name,
        kind=Kind(row.kind),
        target=row.target,
        enabled=row.enabled,
        last_outcome=Outcome(row.last_outcome) if row.last_outcome else None,
        last_used_at=row.last_used_at,
    )
