"""Sign-in sessions and one-time links."""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from pydantic import BaseModel
from sqlalchemy import ColumnElement, Select, delete, func, select, update

from nebula.auth.models import LinkRow, SessionRow, UserRow
from nebula.auth.noted import Act, Noted
from nebula.auth.principal import Principal
from nebula.auth.principals import Principals, Proof
from nebula.auth.settings import AuthSettings
from nebula.auth.tokens import digest, new_id, new_token
from nebula.db.engine import Database
from nebula.errors import NotAuthenticated, NotFound

_TOUCH = timedelta(minutes=1)


class Login(BaseModel):
    """A signed-in device, as its owner sees it."""

    id: str
    device: str
    address: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime


class SignIn(BaseModel):
    """A fresh sign-in; `token` is shown only here and goes into the cookie."""

    token: str
    principal: Principal
    expires_at: datetime


class Logins:
    """Opens, checks and ends sign-in sessions."""

    def __init__(self, db: Database, principals: Principals, settings: AuthSettings) -> None:
        """Take the limits from settings."""
        self._db = db
        self._principals = principals
        self._settings = settings
        self._noted = Noted(db)

    async def open(
        self, user_id: str, *, by: str = "password", device: str = "", address: str = ""
    ) -> SignIn:
        """Sign a user in whose identity was just proven.

        Raises:
            NotAuthenticated: when the user was disabled or deleted meanwhile.
        """
        token = new_token()
        lifetime = timedelta(hours=self._settings.session_max_hours)
        async with self._db.session() as s:
            user = await s.get(UserRow, user_id, with_for_update=True)
            if user is None or not user.enabled:
                raise NotAuthenticated("This user may not sign in")
            user.last_sign_in_at = func.now()
            row = SessionRow(
                id=new_id("log"),
                token_hash=digest(token),
                user_id=user_id,
                device=_short(device),
                address=_short(address),
                expires_at=func.now() + lifetime,
            )
            s.add(row)
            await s.flush()
            await s.refresh(row)
            principal = await self._principals.build(s, user, login_id=row.id)
            said = {"by": by, "login": row.id, "device": row.device, "address": row.address}
            await self._noted.note(s, Act.SIGN_IN, user.name, **said)
        return SignIn(token=token, principal=principal, expires_at=row.expires_at)

    async def prove(self, login_id: str, *, user_id: str) -> SignIn:
        """Note that a session's person just showed who they are, and give it another token.

        Whoever had copied the old token is signed out by that.

        Raises:
            NotAuthenticated: when the session has ended.
        """
        token = new_token()
        mine = (SessionRow.id == login_id, SessionRow.user_id == user_id)
        async with self._db.session() as s:
            found = (await s.execute(self._live().where(*mine))).first()
            if found is None:
                raise _ended()
            row, user = found
            row.token_hash, row.proven_at = digest(token), func.now()
            principal = await self._principals.build(s, user, login_id=row.id)
            await self._noted.note(s, Act.CONFIRM, user.name, login=row.id)
        self._principals.forget()
        return SignIn(token=token, principal=principal, expires_at=row.expires_at)

    async def proven(self, login_id: str, within: timedelta) -> bool:
        """Say whether the person of a live session showed who they are within so long."""
        query = self._live().where(
            SessionRow.id == login_id, SessionRow.proven_at > func.now() - within
        )
        async with self._db.session() as s:
            return (await s.execute(query)).first() is not None

    async def principal(self, token: str) -> Principal:
        """Return who a session token belongs to.

        Raises:
            NotAuthenticated: when it is unknown, ended, expired, or its user disabled.
        """
        hashed = digest(token)
        return await self._read(hashed, SessionRow.token_hash == hashed)

    async def again(self, proof: Proof) -> Principal:
        """Return the principal of a session that was valid before.

        Raises:
            NotAuthenticated: when it has ended since.
        """
        return await self._read(proof, SessionRow.id == proof.login_id)

    async def list(self, user_id: str) -> Sequence[Login]:
        """Return a user's live sessions, latest first."""
        async with self._db.session() as s:
            rows = await s.execute(
                self._live().where(UserRow.id == user_id).order_by(SessionRow.seen_at.desc())
            )
            return [Login.model_validate(row, from_attributes=True) for row, _ in rows]

    async def end(self, login_id: str, *, user_id: str) -> None:
        """End one of a user's sessions.

        Raises:
            NotFound: when it is not theirs or has ended already.
        """
        mine = (SessionRow.id == login_id, SessionRow.user_id == user_id)
        if not await self._revoke(*mine):
            raise NotFound("There is no such session")

    async def end_all(self, user_id: str, *, except_id: str | None = None) -> int:
        """End all sessions of a user but the named one; return how many."""
        return await self._revoke(
            SessionRow.user_id == user_id, SessionRow.id.is_distinct_from(except_id)
        )

    async def make_link(self, user_id: str) -> str:
        """Return the token of a fresh one-time link; earlier links of this user stop working."""
        token = new_token()
        async with self._db.session() as s:
            await s.execute(delete(LinkRow).where(LinkRow.user_id == user_id))
            lifetime = timedelta(minutes=self._settings.link_minutes)
            s.add(
                LinkRow(
                    id=new_id("lnk"),
                    token_hash=digest(token),
                    user_id=user_id,
                    expires_at=func.now() + lifetime,
                )
            )
            await self._noted.of(s, Act.LINK_CREATE, user_id)
        return token

    async def use_link(self, token: str, *, device: str = "", address: str = "") -> SignIn:
        """Sign in with a one-time link; of several at once, one succeeds.

        Raises:
            NotAuthenticated: when it was used, has expired or never existed.
        """
        use = (
            update(LinkRow)
            .where(LinkRow.token_hash == digest(token), LinkRow.used_at.is_(None))
            .where(LinkRow.expires_at > func.now())
            .values(used_at=func.now())
            .returning(LinkRow.user_id)
        )
        async with self._db.session() as s:
            user_id = await s.scalar(use)
        if user_id is None:
            raise NotAuthenticated(
                "This link was used already or has expired",
                hint="Ask for a new one, or run `jarvis user link NAME` on the server.",
            )
        return await self.open(user_id, by="link", device=device, address=address)

    async def _read(self, by: Proof | str, condition: ColumnElement[bool]) -> Principal:
        return await self._principals.fresh(by, lambda: self._read_anew(by, condition))

    async def _read_anew(self, by: Proof | str, condition: ColumnElement[bool]) -> Principal:
        read_at = time.monotonic()
        async with self._db.session() as s:
            found = (await s.execute(self._live().where(condition))).first()
            if found is None:
                raise _ended()
            session, user = found
            principal = await self._principals.build(s, user, login_id=session.id)
            await s.execute(
                update(SessionRow)
                .where(SessionRow.id == session.id, SessionRow.seen_at < func.now() - _TOUCH)
                .values(seen_at=func.now())
            )
        return self._principals.remember(by, principal, read_at=read_at)

    def _live(self) -> Select[SessionRow, UserRow]:
        idle = timedelta(hours=self._settings.session_idle_hours)
        return (
            select(SessionRow, UserRow)
            .join(UserRow, UserRow.id == SessionRow.user_id)
            .where(UserRow.enabled, SessionRow.revoked_at.is_(None))
            .where(SessionRow.expires_at > func.now(), SessionRow.seen_at > func.now() - idle)
        )

    async def _revoke(self, *conditions: ColumnElement[bool]) -> int:
        async with self._db.session() as s:
            ended = await s.execute(
                update(SessionRow)
                .where(SessionRow.revoked_at.is_(None), *conditions)
                .values(revoked_at=func.now())
                .returning(SessionRow.id, SessionRow.user_id)
            )
            gone = ended.all()
            for login_id, user_id in gone:
                await self._noted.of(s, Act.SIGN_OUT, user_id, login=login_id)
        self._principals.forget()
        return len(gone)


def _ended() -> NotAuthenticated:
    return NotAuthenticated("Your sign-in has ended", hint="Sign in again.")


def _short(text: str) -> str:
    """Bound what a client says about itself; PostgreSQL takes no NUL."""
    return "".join(c for c in text if c.isprintable())[:200]
