"""Turns rows into principals: what someone may do at this moment."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from weakref import WeakValueDictionary

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.grant import Grant, of_features
from nebula.auth.models import KeyRow, RoleFeaturesRow, UserRow
from nebula.auth.principal import Principal, Role
from nebula.auth.roles import ROLES, of_scopes
from nebula.db.engine import Database
from nebula.errors import InvalidInput

FRESH_SECONDS = 0.4
"""A change of rights takes effect within this time in every process; at once in its own.

What is open looks again as often: both together stay below the second that is promised.
"""
_KEPT = 10_000


@dataclass(frozen=True)
class Proof:
    """What someone showed: a sign-in session, an API key, or (for trusted code) just an id."""

    user_id: str
    login_id: str | None = None
    key_id: str | None = None


class Principals:
    """Builds principals from rows and remembers them for a moment."""

    def __init__(self, db: Database) -> None:
        """Start with nothing remembered."""
        self._db = db
        self._known: dict[Proof | str, tuple[float, Principal]] = {}
        self._reading: WeakValueDictionary[Proof | str, asyncio.Lock] = WeakValueDictionary()

    async def fresh(self, by: Proof | str, read: Callable[[], Awaitable[Principal]]) -> Principal:
        """Return what was remembered under a proof or token hash, or read it again.

        Of many who ask at once, such as open streams, one reads for all.
        """
        known = self._remembered(by)
        if known is not None:
            return known
        async with self._reading.setdefault(by, asyncio.Lock()):
            return self._remembered(by) or await read()

    def _remembered(self, by: Proof | str) -> Principal | None:
        until, principal = self._known.get(by, (0.0, None))
        return principal if time.monotonic() < until else None

    def remember(self, by: Proof | str, principal: Principal, *, read_at: float) -> Principal:
        """Keep a principal whose rows were read at a monotonic time, in seconds."""
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[by] = (read_at + FRESH_SECONDS, principal)
        return principal

    def forget(self) -> None:
        """Drop everything remembered, after rights changed."""
        self._known.clear()

    async def build(
        self,
        s: AsyncSession,
        user: UserRow,
        *,
        key: KeyRow | None = None,
        login_id: str | None = None,
    ) -> Principal:
        """Combine a user's role, what the role sees, and the key they came with."""
        grant = await self._grant(s, Role(user.role))
        role = Role(user.role)
        if key is not None:
            grant = grant.narrowed(await self._grant(s, Role(key.role)))
            role = Role(key.role)
            if key.scopes is not None:
                grant = grant.narrowed(of_scopes(key.scopes))
        return Principal(
            id=user.id,
            name=user.name,
            role=role,
            permissions=grant.allowed,
            denied=grant.denied,
            key_id=key.id if key else None,
            login_id=login_id,
        )

    async def features(self) -> dict[Role, list[str] | None]:
        """Return the features each role sees; None means all."""
        async with self._db.session() as s:
            rows = {row.role: row.features for row in await s.scalars(select(RoleFeaturesRow))}
        return {role: rows.get(role) for role in Role}

    async def set_features(self, role: Role, features: Iterable[str] | None) -> None:
        """Let a role see only the named features, or all (None).

        Raises:
            InvalidInput: when administrators would lose `users`, with which this is undone.
        """
        chosen = None if features is None else sorted(set(features))
        if role is Role.ADMIN and chosen is not None and "users" not in chosen:
            raise InvalidInput("Administrators keep the feature 'users', or nobody could undo this")
        async with self._db.session() as s:
            if chosen is None:
                row = await s.get(RoleFeaturesRow, role)
                if row is not None:
                    await s.delete(row)
            else:
                put = insert(RoleFeaturesRow).values(role=role, features=chosen)
                await s.execute(
                    put.on_conflict_do_update(index_elements=["role"], set_={"features": chosen})
                )
        self.forget()

    async def _grant(self, s: AsyncSession, role: Role) -> Grant:
        row = await s.get(RoleFeaturesRow, role)
        return ROLES[role] if row is None else ROLES[role].narrowed(of_features(row.features))
