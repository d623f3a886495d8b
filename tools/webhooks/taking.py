"""Takes deliveries: genuine ones once each, and everything else with one and the same answer.

What was told becomes an event in the transaction that records it, so that whoever waits for it
hears of it exactly once, and nothing that was accepted is lost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import delete, func, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.tokens import new_id
from nebula.db.documents import storable
from nebula.errors import NotAuthenticated, Paused
from nebula.events.triggers import EVENTS, WEBHOOK
from nebula.jobs.schedules.service import database_now
from nebula.secrets.redact import LIVE
from nebula.secrets.vault import Vault
from nebula.tool.arguments import parse
from tools.webhooks.models import DeliveryRow, WebhookRow
from tools.webhooks.reading import Said, read, wanted
from tools.webhooks.service import form_of
from tools.webhooks.signatures import Signed, made, verified

if TYPE_CHECKING:
    from nebula.app import Parts

STREAM = EVENTS[WEBHOOK].stream
ALERTS = "alerts"
_BODY_KEPT = timedelta(days=7)
_ROW_KEPT = timedelta(days=90)

Outcome = Literal["told", "filtered", "noted", "known"]


@dataclass(frozen=True)
class Taken:
    """What became of a genuine delivery, and what its sender wants to hear."""

    outcome: Outcome
    challenge: str = ""


@dataclass(frozen=True)
class Genuine:
    """A delivery that one of the webhook's secrets has signed."""

    hook: WebhookRow
    signed: Signed
    body: bytes


class Taking:
    """The door of deliveries; one for each server."""

    def __init__(self, parts: "Parts") -> None:
        """Take the database, the events, and what opens the secrets."""
        self._parts = parts
        self._vault = Vault.of(parts.settings)
        self._decoy: bytes | None = None

    async def admit(self, hook_id: str, headers: Mapping[str, str], body: bytes) -> Genuine:
        """Return a delivery whose signature is right and in time.

        Raises:
            NotAuthenticated: for everything else, also when there is no such webhook; the work
                is the same, so that the time tells nothing either.
        """
        async with self._parts.db.session() as session:
            now = await database_now(session)
            row = await session.get(WebhookRow, hook_id)
        secrets = await self._vault.open_each(await self._sealed(row, now))
        form = "standard" if row is None else form_of(row)
        known = [secret for secret in secrets if secret is not None]
        signed = verified(form, headers, body, known, now)
        if row is None or signed is None:
            raise NotAuthenticated("This delivery is not signed as it has to be")
        return Genuine(row, signed, body)

    async def take(self, genuine: Genuine) -> Taken:
        """Record a delivery and tell of it, unless it is known already.

        Raises:
            InvalidInput: when its body is no JSON object.
            Paused: while everything is paused; nothing is recorded, and it may be sent again.
        """
        hook, parts = genuine.hook, self._parts
        body = parse(genuine.body)
        said = read(form_of(hook), genuine.signed, body)
        if said.purpose == "challenge":
            return Taken("noted", said.challenge)
        if (stopped := await parts.judge.pause.now()) is not None:
            raise Paused(f"Everything is paused: {stopped}", hint="Send it again later.")
        outcome: Outcome = "noted"
        if said.purpose == "event":
            outcome = "told" if wanted(hook.where, said, body) else "filtered"
        async with parts.db.session() as session:
            found = await _record(session, genuine, said, outcome, body)
            if found is None:
                return Taken("known")
            if outcome == "told":
                data = {"hook": hook.name, "hook_id": hook.id, "delivery": found}
                await parts.events.publish(STREAM, WEBHOOK, data, hook.owner_id, session=session)
            if said.problem:
                await self._alert(session, hook, said)
            await _forget(session, hook)
        return Taken(outcome)

    async def _sealed(self, row: WebhookRow | None, now: datetime) -> Sequence[bytes]:
        if row is None:
            if self._decoy is None:
                self._decoy = await self._vault.seal(made("standard", bytes(32)), known=False)
            return [self._decoy]
        sealed = [row.secret_sealed]
        if row.previous_sealed is not None and row.previous_until and now < row.previous_until:
            sealed.append(row.previous_sealed)
        return sealed

    async def _alert(self, session: AsyncSession, hook: WebhookRow, said: Said) -> None:
        told = update(WebhookRow).where(WebhookRow.id == hook.id).values(problem=said.problem)
        await session.execute(told)
        alert = {"source": "webhooks", "webhook": hook.name, "problem": said.problem}
        await self._parts.events.publish(
            ALERTS, "alert.opened", alert, hook.owner_id, session=session
        )


async def _record(
    session: AsyncSession, genuine: Genuine, said: Said, outcome: Outcome, body: dict[str, Any]
) -> str | None:
    """Write a delivery down; None when it was before, in this or in another process."""
    made_row = insert(DeliveryRow).values(
        id=new_id("dlv"),
        webhook_id=genuine.hook.id,
        key=genuine.signed.key,
        kind=storable(said.kind),
        outcome=outcome,
        body=LIVE.value(storable(body)),
    )
    once = made_row.on_conflict_do_nothing(index_elements=["webhook_id", "key"])
    found: str | None = await session.scalar(once.returning(DeliveryRow.id))
    return found


async def _forget(session: AsyncSession, hook: WebhookRow) -> None:
    """Forget what a webhook was told long ago; its keys are known for longer than its texts."""
    mine = DeliveryRow.webhook_id == hook.id
    age = func.clock_timestamp() - DeliveryRow.at
    await session.execute(delete(DeliveryRow).where(mine, age > _ROW_KEPT))
    old = mine & (age > _BODY_KEPT) & DeliveryRow.body.is_not(None)
    await session.execute(update(DeliveryRow).where(old).values(body=None))
