"""The people who may sign in."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel
from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from nebula.auth.models import KeyRow, LinkRow, SessionRow, UserRow
from nebula.auth.names import clean_name, name_key
from nebula.auth.noted import Act, Noted
from nebula.auth.passwords import Passwords
from nebula.auth.principal import Role
from nebula.auth.principals import Principals
from nebula.auth.tokens import new_id
from nebula.db.engine import Database
from nebula.errors import Conflict, InvalidInput, NotFound


class User(BaseModel):
    """A person, without secrets."""

    id: str
    name: str
    role: Role
    enabled: bool
    has_password: bool
    created_at: datetime
    last_sign_in_at: datetime | None = None


class People:
    """Creates, changes and removes users. The last administrator always stays."""

    def __init__(self, db: Database, passwords: Passwords, principals: Principals) -> None:
        """Take the cache of principals too, to empty it when rights change."""
        self._db = db
        self._passwords = passwords
        self._principals = principals
        self._noted = Noted(db)

    async def create(self, name: str, role: Role, *, password: str | None = None) -> User:
        """Add a user; without a password they sign in with a one-time link.

        Raises:
            InvalidInput: when the name or password is not acceptable.
            Conflict: when the name, or one that looks like it, is taken.
        """
        name = clean_name(name)
        hashed = None if password is None else await self._hash(name, password)
        row = UserRow(
            id=new_id("usr"), name=name, name_key=name_key(name), role=role, password_hash=hashed
        )
        try:
            async with self._db.session() as s:
                s.add(row)
                await s.flush()
                await s.refresh(row)
                return _shown(row)
        except IntegrityError as error:
            raise Conflict(
                f"There is already a user {name!r}, or one whose name looks the same"
            ) from error

    async def list(self) -> Sequence[User]:
        """Return all users, oldest first."""
        async with self._db.session() as s:
            rows = await s.scalars(select(UserRow).order_by(UserRow.created_at, UserRow.id))
            return [_shown(row) for row in rows]

    async def find(self, user: str) -> User:
        """Return a user by id or name.

        Raises:
            NotFound: when there is none.
        """
        async with self._db.session() as s:
            return _shown(await _find(s, user))

    async def update(
        self,
        user: str,
        *,
        role: Role | None = None,
        enabled: bool | None = None,
        password: str | None = None,
    ) -> User:
        """Change a user; a new password or being disabled ends all their sign-ins.

        Raises:
            NotFound: when there is no such user.
            Conflict: when no administrator would be left.
        """
        hashed = None
        if password is not None:
            hashed = await self._hash((await self.find(user)).name, password)
        async with self._db.session() as s:
            row = await _find(s, user, lock=True)
            if row.role == Role.ADMIN and (enabled is False or role not in {None, Role.ADMIN}):
                await _keep_one_admin(s, row)
            row.role = role or row.role
            row.enabled = row.enabled if enabled is None else enabled
            row.password_hash = hashed or row.password_hash
            if hashed or enabled is False:
                await s.execute(delete(SessionRow).where(SessionRow.user_id == row.id))
                await s.execute(delete(LinkRow).where(LinkRow.user_id == row.id))
            if hashed:
                await self._noted.note(s, Act.PASSWORD_SET, row.name)
            shown = _shown(row)
        self._principals.forget()
        return shown

    async def delete(self, user: str) -> User:
        """Remove a user with their sessions, keys and links.

        Raises:
            NotFound: when there is no such user.
            Conflict: when it is the last administrator.
        """
        async with self._db.session() as s:
            row = await _find(s, user, lock=True)
            if row.role == Role.ADMIN:
                await _keep_one_admin(s, row)
            shown = _shown(row)
            for table in (SessionRow, KeyRow, LinkRow):
                await s.execute(delete(table).where(table.user_id == row.id))
            await s.delete(row)
        self._principals.forget()
        return shown

    async def named(self, name: str) -> str | None:
        """Return the name of the user who signs in under this name, as it is kept."""
        async with self._db.session() as s:
            return await s.scalar(select(UserRow.name).where(UserRow.name_key == _key_of(name)))

    async def check_password(self, name: str, password: str) -> User | None:
        """Return the enabled user whose password this is; re-hash it where costs have grown."""
        async with self._db.session() as s:
            found = select(UserRow).where(UserRow.name_key == _key_of(name), UserRow.enabled)
            row = await s.scalar(found)
        stored = row.password_hash if row else None
        if not await self._passwords.verify(stored, password) or row is None or stored is None:
            return None
        if self._passwords.outdated(stored):
            await self._rehash(row.id, stored, password)
        return _shown(row)

    async def _rehash(self, user_id: str, stored: str, password: str) -> None:
        fresh = await self._passwords.hash(password)
        async with self._db.session() as s:
            row = await s.get(UserRow, user_id, with_for_update=True)
            if row is not None and row.password_hash == stored:
                row.password_hash = fresh

    async def _hash(self, name: str, password: str) -> str:
        if name_key(password) == name_key(name):
            raise InvalidInput("The password is the user name; choose another one")
        return await self._passwords.hash(password)


def _key_of(name: str) -> str:
    """Return what to look a typed name up by; one that no user can have finds nobody."""
    try:
        return name_key(clean_name(name))
    except InvalidInput:
        return ""


async def _find(s: AsyncSession, user: str, *, lock: bool = False) -> UserRow:
    is_id = user.startswith("usr_") and user.isascii() and user.isprintable()
    by = UserRow.id == user if is_id else UserRow.name_key == _key_of(user)
    query = select(UserRow).where(by)
    row = await s.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise NotFound(f"There is no user {user!r}", hint="users_list shows who there is.")
    return row


async def _keep_one_admin(s: AsyncSession, leaving: UserRow) -> None:
    """Refuse when no other enabled administrator is left, also when two leave at once."""
    await s.execute(select(func.pg_advisory_xact_lock(func.hashtext("nebula.auth.admins"))))
    others = select(func.count()).where(
        UserRow.role == Role.ADMIN, UserRow.enabled, UserRow.id != leaving.id
    )
    if not await s.scalar(others):
        raise Conflict(
            f"{leaving.name} is the last administrator",
            hint="Make someone else an administrator first.",
        )


def _shown(row: UserRow) -> User:
    return User(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        enabled=row.enabled,
        has_password=row.password_hash is not None,
        created_at=row.created_at,
        last_sign_in_at=row.last_sign_in_at,
    )
