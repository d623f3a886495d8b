"""Who may come in, and as whom: people, sign-ins, keys and what they grant."""

import time
from datetime import timedelta
from urllib.parse import quote

from sqlalchemy import func, select

from nebula.auth.keys import Keys
from nebula.auth.logins import Logins, SignIn
from nebula.auth.models import UserRow
from nebula.auth.names import MAX_LENGTH, name_key
from nebula.auth.noted import Act, Noted
from nebula.auth.passwords import Passwords
from nebula.auth.people import People, User
from nebula.auth.principal import Caller, Principal, Role
from nebula.auth.principals import Principals, Proof
from nebula.auth.rights import rights_of
from nebula.auth.sessions import SessionGrants
from nebula.auth.settings import AuthSettings
from nebula.auth.throttle import Throttle
from nebula.auth.tokens import new_id
from nebula.db.engine import Database
from nebula.errors import Conflict, NotAuthenticated, NotFound, PermissionDenied
from nebula.settings import Settings

FIRST_ADMIN = "admin"


class Auth:
    """The front desk: `people`, `logins`, `keys`, `sessions`, and the principals they stand for."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        *,
        limits: AuthSettings | None = None,
        passwords: Passwords | None = None,
    ) -> None:
        """Take other limits or password costs where the usual ones do not fit."""
        limits = limits or AuthSettings()
        self._db = db
        self._link = settings.link
        self.principals = Principals(db)
        self.people = People(db, passwords or Passwords(), self.principals)
        self.logins = Logins(db, self.principals, limits)
        self.keys = Keys(db, self.principals)
        self.sessions = SessionGrants(db)
        self._throttle = Throttle(db, limits)
        self._noted = Noted(db)

    async def create_user(self, name: str, role: Role, *, password: str | None = None) -> Principal:
        """Add a user and return their principal; see `People.create` for what it refuses."""
        return await self._of_user(
            Proof((await self.people.create(name, role, password=password)).id)
        )

    async def sign_in(
        self, name: str, password: str, *, device: str = "", address: str = ""
    ) -> SignIn:
        """Sign in with a password.

        Raises:
            NotAuthenticated: when name or password is wrong; it does not say which.
            RateLimited: after too many failures for this name or from this address.
        """
        user = await self.confirm(name, password, address=address)
        return await self.logins.open(user.id, device=device, address=address)

    async def confirm(self, name: str, password: str, *, address: str = "") -> User:
        """Return the user whose password this is, without signing them in.

        Raises:
            NotAuthenticated: when name or password is wrong; it does not say which.
            RateLimited: after too many failures for this name or from this address.
        """
        key = name_key(name[:MAX_LENGTH])
        await self._throttle.take(key, address)
        user = await self.people.check_password(name, password)
        if user is None:
            who = await self.people.named(name)
            why = "wrong password" if who else "unknown name"
            await self._noted.refused(Act.SIGN_IN, who, why=why, address=address)
            raise NotAuthenticated("The name or the password is wrong")
        await self._throttle.forgive(key, address)
        return user

    async def prove(self, principal: Principal, password: str, *, address: str = "") -> SignIn:
        """Let a signed-in person show again who they are; the session gets another token.

        Raises:
            NotAuthenticated: when the password is wrong, or the session has ended.
            Conflict: when they have no password; a new sign-in link does the same.
            PermissionDenied: when it is no person who signed in, such as a program's key.
            RateLimited: after too many failures for this name or from this address.
        """
        if principal.login_id is None:
            raise PermissionDenied("Only a person who signed in can do this, no program")
        user = await self.people.find(principal.id)
        if not user.has_password:
            raise Conflict(
                "You have no password to confirm with",
                hint=f"Sign in anew with a link from `jarvis user link {user.name}`.",
            )
        await self.confirm(user.name, password, address=address)
        return await self.logins.prove(principal.login_id, user_id=user.id)

    async def is_fresh(self, principal: Principal, within: timedelta) -> bool:
        """Say whether this person signed in, or gave their password again, within so long.

        Read from the row, by the database's clock. A key, a schedule or a job never is fresh.
        """
        if principal.login_id is None:
            return False
        return await self.logins.proven(principal.login_id, within)

    async def principal_for_session(self, token: str) -> Principal:
        """Return who a session token belongs to; raises NotAuthenticated."""
        return await self.logins.principal(token)

    async def principal_for_key(self, key: str) -> Principal:
        """Return who an API key acts for; raises NotAuthenticated."""
        return await self.keys.principal(key)

    async def principal_for_user(self, user: str) -> Principal:
        """Return a user's principal by id or name, for the terminal and trusted code.

        Raises:
            NotAuthenticated: when the user does not exist or is disabled.
        """
        try:
            found = await self.people.find(user)
        except NotFound as error:
            raise NotAuthenticated(f"There is no user {user!r}") from error
        return await self._of_user(Proof(found.id))

    async def first_administrator(self) -> Principal:
        """Return the oldest enabled administrator: who the terminal on this machine acts as."""
        for user in await self.people.list():
            if user.role is Role.ADMIN and user.enabled:
                return await self._of_user(Proof(user.id))
        raise NotAuthenticated("There is no administrator yet", hint="Run `jarvis up` once.")

    async def current(self, principal: Principal) -> Principal:
        """Return what a principal may do now; at most a second old.

        Raises:
            NotAuthenticated: when its user, session or key was revoked since.
        """
        present = await self._present(principal)
        return present if principal.frozen is None else present.narrowed(principal.frozen)

    async def unchanged(self, principal: Principal) -> None:
        """Let what a principal opened stay open only while their rights are what they were.

        Raises:
            NotAuthenticated: when their user, session or key was revoked since.
            PermissionDenied: when they may do more or less than before.
        """
        present = await self.current(principal)
        if (present.permissions, present.denied) != (principal.permissions, principal.denied):
            raise PermissionDenied("Your rights have changed", hint="Connect again.")

    async def effective(self, caller: Caller) -> Principal:
        """Return what a caller may do now: their own rights, cut down by agent, door and session.

        Raises:
            NotAuthenticated: when their user, session or key was revoked since.
        """
        present = await self.current(caller.principal)
        return rights_of(present, caller.surface, await self.sessions.of(caller.session_id))

    async def _present(self, principal: Principal) -> Principal:
        proof = Proof(principal.id, principal.login_id, principal.key_id)
        if proof.key_id is not None:
            return await self.keys.again(proof)
        if proof.login_id is not None:
            return await self.logins.again(proof)
        return await self._of_user(proof)

    async def sign_in_link(self, user: str) -> str:
        """Return a fresh one-time link for a user, by id or name."""
        token = await self.logins.make_link((await self.people.find(user)).id)
        return f"{self._link}/api/auth/link/{quote(token)}"

    async def ensure_admin(self) -> str | None:
        """Make the first administrator; return a sign-in link until one has signed in."""
        async with self._db.session() as s:
            await s.execute(select(func.pg_advisory_xact_lock(func.hashtext("nebula.auth.admins"))))
            admins = (await s.scalars(select(UserRow).where(UserRow.role == Role.ADMIN))).all()
            if any(admin.last_sign_in_at or admin.password_hash for admin in admins):
                return None
            name = min(admins, key=lambda a: a.created_at).id if admins else FIRST_ADMIN
            if not admins:
                s.add(_first_admin())
        return await self.sign_in_link(name)

    async def _of_user(self, proof: Proof) -> Principal:
        return await self.principals.fresh(proof, lambda: self._read_user(proof))

    async def _read_user(self, proof: Proof) -> Principal:
        read_at = time.monotonic()
        async with self._db.session() as s:
            user = await s.get(UserRow, proof.user_id)
            if user is None or not user.enabled:
                raise NotAuthenticated("This user was removed or disabled")
            principal = await self.principals.build(s, user)
        return self.principals.remember(proof, principal, read_at=read_at)


def _first_admin() -> UserRow:
    name = name_key(FIRST_ADMIN)
    return UserRow(id=new_id("usr"), name=FIRST_ADMIN, name_key=name, role=Role.ADMIN)
