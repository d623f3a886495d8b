"""API keys: for programs, hashed, narrowed to a role and scopes."""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from pydantic import BaseModel
from sqlalchemy import ColumnElement, Select, func, or_, select, update

from nebula.auth.models import KeyRow, UserRow
from nebula.auth.noted import Act, Noted
from nebula.auth.principal import Principal, Role
from nebula.auth.principals import Principals, Proof
from nebula.auth.roles import of_scopes
from nebula.auth.tokens import KEY_PREFIX, SHOWN, digest, new_id, new_key
from nebula.db.engine import Database
from nebula.errors import InvalidInput, NotAuthenticated, NotFound

_TOUCH = timedelta(minutes=1)


class ApiKey(BaseModel):
    """A key as its owner sees it later: without the key itself."""

    id: str
    name: str
    prefix: str
    user_id: str
    role: Role
    scopes: list[str] | None = None
    created_at: datetime
    used_at: datetime | None = None
    expires_at: datetime | None = None


class NewKey(ApiKey):
    """A fresh key; `key` is shown only here."""

    key: str


class Keys:
    """Makes, checks and revokes API keys."""

    def __init__(self, db: Database, principals: Principals) -> None:
        """Take the cache of principals too, to empty it when a key is revoked."""
        self._db = db
        self._principals = principals
        self._noted = Noted(db)

    async def create(
        self,
        user_id: str,
        name: str,
        *,
        role: Role,
        scopes: Sequence[str] | None = None,
        days: float | None = None,
    ) -> NewKey:
        """Make a key that may do what its owner, its role and its scopes all allow.

        Raises:
            InvalidInput: when the name is empty or too long, a scope is malformed, or the
                lifetime is not positive.
        """
        name = " ".join(name.split())
        if not 1 <= len(name) <= 64 or not name.isprintable():
            raise InvalidInput("A key's name has 1 to 64 printable characters")
        if days is not None and not 0 < days <= 36_500:
            raise InvalidInput("A key's lifetime is between 0 and 36500 days")
        of_scopes(scopes or ())
        key = new_key()
        row = KeyRow(
            id=new_id("key"),
            key_hash=digest(key),
            prefix=key[:SHOWN],
            name=name,
            user_id=user_id,
            role=role,
            scopes=None if scopes is None else sorted(set(scopes)),
            expires_at=None if days is None else func.now() + timedelta(days=days),
        )
        async with self._db.session() as s:
            s.add(row)
            await s.flush()
            await s.refresh(row)
            said = {"key": row.id, "name": name, "role": role.value, "scopes": row.scopes}
            await self._noted.of(s, Act.KEY_CREATE, user_id, **said, days=days)
            return NewKey(key=key, **_shown(row).model_dump())

    async def list(self, user_id: str | None = None) -> Sequence[ApiKey]:
        """Return the live keys of one user, or of all."""
        query = self._live().order_by(KeyRow.created_at, KeyRow.id)
        if user_id is not None:
            query = query.where(KeyRow.user_id == user_id)
        async with self._db.session() as s:
            return [_shown(row) for row, _ in await s.execute(query)]

    async def revoke(self, key_id: str, *, user_id: str | None = None) -> None:
        """End a key; `user_id` limits it to that user's keys.

        Raises:
            NotFound: when there is no such live key.
        """
        gone = update(KeyRow).where(KeyRow.id == key_id, KeyRow.revoked_at.is_(None))
        if user_id is not None:
            gone = gone.where(KeyRow.user_id == user_id)
        async with self._db.session() as s:
            found = await s.scalar(gone.values(revoked_at=func.now()).returning(KeyRow.user_id))
            if found is not None:
                await self._noted.of(s, Act.KEY_REVOKE, found, key=key_id)
        self._principals.forget()
        if found is None:
            raise NotFound("There is no such key")

    async def principal(self, key: str) -> Principal:
        """Return who a key acts for.

        Raises:
            NotAuthenticated: when it is unknown, revoked, expired, or its owner disabled.
        """
        if not key.startswith(KEY_PREFIX):
            raise NotAuthenticated("That is not an API key", hint="Keys begin with jk_.")
        hashed = digest(key)
        return await self._read(hashed, KeyRow.key_hash == hashed)

    async def again(self, proof: Proof) -> Principal:
        """Return the principal of a key that was valid before.

        Raises:
            NotAuthenticated: when it was revoked or has expired since.
        """
        return await self._read(proof, KeyRow.id == proof.key_id)

    async def _read(self, by: Proof | str, condition: ColumnElement[bool]) -> Principal:
        return await self._principals.fresh(by, lambda: self._read_anew(by, condition))

    async def _read_anew(self, by: Proof | str, condition: ColumnElement[bool]) -> Principal:
        read_at = time.monotonic()
        async with self._db.session() as s:
            found = (await s.execute(self._live().where(condition))).first()
            if found is None:
                raise NotAuthenticated(
                    "This API key is unknown, revoked or expired",
                    hint="Make a new one with `jarvis key create`.",
                )
            row, user = found
            principal = await self._principals.build(s, user, key=row)
            stale = or_(KeyRow.used_at.is_(None), KeyRow.used_at < func.now() - _TOUCH)
            await s.execute(
                update(KeyRow).where(KeyRow.id == row.id, stale).values(used_at=func.now())
            )
        return self._principals.remember(by, principal, read_at=read_at)

    def _live(self) -> Select[KeyRow, UserRow]:
        return (
            select(KeyRow, UserRow)
            .join(UserRow, UserRow.id == KeyRow.user_id)
            .where(UserRow.enabled, KeyRow.revoked_at.is_(None))
            .where(or_(KeyRow.expires_at.is_(None), KeyRow.expires_at > func.now()))
        )


def _shown(row: KeyRow) -> ApiKey:
    return ApiKey.model_validate(row, from_attributes=True)
