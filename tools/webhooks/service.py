"""Webhooks as their owner makes and ends them."""

import secrets as randomness
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.principal import Principal
from nebula.auth.tokens import new_id
from nebula.errors import Conflict, InvalidInput, NotFound
from nebula.jobs.schedules.service import database_now
from nebula.secrets.vault import Vault
from tools.webhooks.models import DeliveryRow, WebhookRow
from tools.webhooks.reading import Value
from tools.webhooks.schemas import Delivery, Webhook, WebhookMade
from tools.webhooks.settings import WebhooksSettings
from tools.webhooks.signatures import Form, key_of, made

if TYPE_CHECKING:
    from nebula.app import Parts

ADMIN = "webhooks:admin"
_MOST = 100


class Webhooks:
    """The webhooks of this installation; people see their own, and all with `webhooks:admin`."""

    def __init__(self, parts: "Parts") -> None:
        """Take the database, and what seals the secrets."""
        self._parts = parts
        self._vault = Vault.of(parts.settings)

    async def create(
        self,
        owner: Principal,
        name: str,
        form: Form,
        where: Mapping[str, Value],
        secret: str | None = None,
    ) -> WebhookMade:
        """Make a webhook; without a secret of the sender's, it gets one.

        Raises:
            Conflict: when the owner has one of this name, or too many.
            InvalidInput: when the secret is none of that form.
        """
        own = _checked(form, secret)
        row = WebhookRow(
            id=new_id("whk"),
            owner_id=owner.id,
            name=name,
            form=form,
            where=dict(where),
            secret_sealed=await self._vault.seal(own, known=False),
        )
        async with self._parts.db.session() as session:
            names = list(
                await session.scalars(
                    select(WebhookRow.name).where(WebhookRow.owner_id == owner.id)
                )
            )
            if name in names:
                raise Conflict(f"You have a webhook {name!r} already", hint="Choose another name.")
            if len(names) >= _MOST:
                raise Conflict(f"You have {_MOST} webhooks already", hint="Delete one first.")
            session.add(row)
            await session.flush()
            await session.refresh(row)
        return WebhookMade(webhook=self._shown(row, None), secret="" if secret else own)

    async def rotate(
        self, owner: Principal, name: str, overlap: timedelta, secret: str | None = None
    ) -> WebhookMade:
        """Give a webhook another secret; the one before works on for `overlap`."""
        async with self._parts.db.session() as session:
            row = await _found(session, owner, name, lock=True)
            own = _checked(form_of(row), secret)
            row.previous_sealed = row.secret_sealed if overlap else None
            row.previous_until = await database_now(session) + overlap if overlap else None
            row.secret_sealed = await self._vault.seal(own, known=False)
            await session.flush()
        return WebhookMade(webhook=self._shown(row, None), secret="" if secret else own)

    async def list(self, principal: Principal) -> list[Webhook]:
        """List one's own by name, or everybody's."""
        last = (
            select(
                DeliveryRow.webhook_id,
                func.count().label("many"),
                func.max(DeliveryRow.at).label("last"),
            )
            .group_by(DeliveryRow.webhook_id)
            .subquery()
        )
        query = (
            select(WebhookRow, last.c.many, last.c.last)
            .outerjoin(last, last.c.webhook_id == WebhookRow.id)
            .order_by(WebhookRow.name)
        )
        if not principal.can(ADMIN):
            query = query.where(WebhookRow.owner_id == principal.id)
        async with self._parts.db.session() as session:
            rows = (await session.execute(query)).all()
        return [self._shown(row, last, many or 0) for row, many, last in rows]

    async def delete(self, principal: Principal, name: str) -> str:
        """Delete a webhook with what was told; return its name."""
        async with self._parts.db.session() as session:
            row = await _found(session, principal, name, lock=True)
            await session.delete(row)
        return row.name

    async def delivery(self, principal: Principal, delivery_id: str) -> Delivery:
        """Return what was told.

        Raises:
            NotFound: when there is no such delivery of theirs, or its text is forgotten.
        """
        query = (
            select(WebhookRow.name, DeliveryRow)
            .join(WebhookRow, WebhookRow.id == DeliveryRow.webhook_id)
            .where(DeliveryRow.id == delivery_id)
        )
        if not principal.can(ADMIN):
            query = query.where(WebhookRow.owner_id == principal.id)
        async with self._parts.db.session() as session:
            found = (await session.execute(query)).first()
        if found is None or found[1].body is None:
            raise NotFound(
                f"There is no delivery {delivery_id!r}",
                hint="What was told is kept for seven days.",
            )
        name, row = found
        return Delivery(id=row.id, webhook=name, kind=row.kind, at=row.at, body=row.body)

    def _shown(self, row: WebhookRow, last: datetime | None, many: int = 0) -> Webhook:
        settings = self._parts.settings
        public = self._parts.settings_of(WebhooksSettings).url or settings.public_url
        return Webhook(
            id=row.id,
            name=row.name,
            form=form_of(row),
            where=row.where,
            address=f"{(public or settings.link).rstrip('/')}/api/hooks/{row.id}",
            reachable=bool(public),
            problem=row.problem,
            previous_until=row.previous_until,
            deliveries=many,
            last_at=last,
            created_at=row.created_at,
        )


def _checked(form: Form, secret: str | None) -> str:
    if secret is None:
        return made(form, randomness.token_bytes(32))
    try:
        key_of(form, secret)
    except ValueError as error:
        raise InvalidInput(f"This secret does not fit the form {form}: {error}") from error
    return secret


def form_of(row: WebhookRow) -> Form:
    """Return the form of a row."""
    match row.form:
        case "github" | "twitch":
            return row.form
        case _:
            return "standard"


async def _found(
    session: AsyncSession, principal: Principal, name: str, *, lock: bool = False
) -> WebhookRow:
    mine = WebhookRow.owner_id == principal.id
    query = select(WebhookRow).where((WebhookRow.id == name) | (WebhookRow.name == name))
    if not principal.can(ADMIN):
        query = query.where(mine)
    query = query.order_by(mine.desc(), WebhookRow.created_at).limit(1)
    row = await session.scalar(query.with_for_update() if lock else query)
    if row is None:
        names = list(await session.scalars(select(WebhookRow.name).where(mine)))
        known = ", ".join(sorted(names)) or "none yet"
        raise NotFound(f"There is no webhook {name!r}", hint=f"Yours: {known}.")
    return row
