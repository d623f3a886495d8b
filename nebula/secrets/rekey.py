"""A change of keys: everything that is sealed is sealed anew, or nothing is.

The new key is put before the old one, then every sealed column is rewritten in one transaction,
then the old key goes. Whoever crashes in between leaves both keys, which open everything; running
it again completes it.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import BaseModel
from sqlalchemy import text

from nebula.errors import Conflict, UpstreamUnavailable
from nebula.secrets.keys import KeyFile, KeyPlace, Keyring, place_of
from nebula.secrets.models import SecretVersion
from nebula.secrets.vault import fingerprint
from nebula.secrets.watch import sealed_columns

if TYPE_CHECKING:
    from nebula.db.bare import Bare
    from nebula.db.engine import Database
    from nebula.settings import Settings

_STRAGGLERS_SECONDS: Final = 1.0
"""How long after the change whoever had sealed with the old key may take to store it."""


class Rekeyed(BaseModel):
    """What a change of keys did."""

    values: int
    columns: list[str]
    place: str


async def rekey(
    db: "Database", settings: "Settings", *, wait_seconds: float = _STRAGGLERS_SECONDS
) -> Rekeyed:
    """Seal everything with a new key, which then is where the settings say.

    Raises:
        Conflict: when something cannot be opened with the keys there are; nothing was changed.
        UpstreamUnavailable: when the database or the keyring is away.
    """
    place = place_of(settings.home, settings.secrets_key)
    other: KeyPlace = (
        KeyFile(settings.home) if settings.secrets_key == "keyring" else Keyring(settings.home)
    )
    old = [*await asyncio.to_thread(place.read), *await asyncio.to_thread(_read_if_there, other)]
    keys = [Fernet.generate_key(), *old]
    async with db.bare() as bare:
        columns = await sealed_columns(bare)
        async with bare.transaction():
            for table in sorted({table for table, _ in columns}):
                # Readers go on; who wants to write waits, and then seals with the new key.
                await bare.execute(text(f'LOCK TABLE "{table}" IN EXCLUSIVE MODE'))
            # Checked before any key is touched.
            changes = await _sealed_anew(bare, columns, keys)
            await asyncio.to_thread(place.write, keys)
            await _write(bare, changes, keys[0])
        await asyncio.sleep(wait_seconds)
        async with bare.transaction():
            await _write(bare, await _sealed_anew(bare, columns, keys), keys[0])
    await asyncio.to_thread(place.write, keys[:1])
    await asyncio.to_thread(_clear_if_there, other)
    named = [f"{table}.{column}" for table, column in columns]
    return Rekeyed(values=len(changes), columns=named, place=str(place))


@dataclass(frozen=True)
class _Change:
    table: str
    column: str
    before: bytes
    after: bytes
    secret: str


async def _sealed_anew(
    bare: "Bare", columns: Sequence[tuple[str, str]], keys: Sequence[bytes]
) -> list[_Change]:
    """Return what is to be written; what the newest key sealed already stays."""
    fernets, newest = MultiFernet([Fernet(key) for key in keys]), Fernet(keys[0])
    changes = []
    for table, column in columns:
        query = f'SELECT "{column}" FROM "{table}" WHERE "{column}" IS NOT NULL'  # noqa: S608
        for row in await (await bare.execute(text(query))).fetchall():
            before = bytes(row[0])
            if _opened(newest, before) is not None:
                continue
            secret = _opened(fernets, before)
            if secret is None:
                raise Conflict(
                    f"A value in {table} cannot be opened with the keys there are.",
                    hint="Put the key back that sealed it, or delete that entry; then try again.",
                )
            after = newest.encrypt(secret.encode())
            changes.append(_Change(table, column, before, after, secret))
    return changes


async def _write(bare: "Bare", changes: Sequence[_Change], key: bytes) -> None:
    for change in changes:
        values: dict[str, Any] = {"before": change.before, "after": change.after}
        also = ""
        if change.table == SecretVersion.__tablename__:
            also = ", fingerprint = :fingerprint"
            values["fingerprint"] = fingerprint(key, change.secret)
        # What a vault sealed is unique: it holds a random number and the time.
        update = (
            f'UPDATE "{change.table}" SET "{change.column}" = :after{also} '  # noqa: S608
            f'WHERE "{change.column}" = :before'
        )
        await bare.execute(text(update), values)


def _opened(key: Fernet | MultiFernet, token: bytes) -> str | None:
    try:
        return key.decrypt(token).decode()
    except InvalidToken:
        return None


def _read_if_there(place: KeyPlace) -> list[bytes]:
    """Read the keys of a place that the settings do not name, so it may be away."""
    try:
        return place.read()
    except UpstreamUnavailable:
        return []


def _clear_if_there(place: KeyPlace) -> None:
    with contextlib.suppress(UpstreamUnavailable):
        place.remove()
