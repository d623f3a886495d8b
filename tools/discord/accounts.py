"""Which Discord account belongs to whom: linked by a code that works once."""

import secrets
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel
from sqlalchemy import delete, select, text

from nebula.auth.principal import Principal, Surface
from nebula.auth.tokens import digest
from nebula.errors import InvalidInput, NotAuthenticated
from tools.discord.models import DiscordAccount

if TYPE_CHECKING:
    from nebula.auth.service import Auth
    from nebula.db.bare import Statements
    from nebula.db.engine import Database
    from nebula.tool.audit.log import Audit

MINUTES = 10
_LETTERS = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
"""Nothing in it reads like something else."""
_LENGTH = 10
"""About 49 bits: not to be guessed in ten minutes at a few tries a minute."""

_MAKE = text(
    "WITH old AS (DELETE FROM discord_codes WHERE user_id = :user OR expires_at < now())"
    " INSERT INTO discord_codes (code_hash, user_id, expires_at)"
    " VALUES (:hash, :user, now() + make_interval(mins => :minutes)) RETURNING expires_at"
)
# One statement: of two who use a code at once, one finds it unused.
_USE = text(
    "UPDATE discord_codes SET used_at = now() WHERE code_hash = :hash AND used_at IS NULL"
    " AND expires_at > now() RETURNING user_id"
)
_LINK = text(
    "INSERT INTO discord_accounts (discord_id, user_id, name) VALUES (:discord, :user, :name)"
    " ON CONFLICT (discord_id) DO UPDATE SET user_id = excluded.user_id, name = excluded.name,"
    " linked_at = now() RETURNING user_id"
)


class LinkedAccount(BaseModel):
    """A Discord account of somebody."""

    discord_id: str
    user_id: str
    name: str
    linked_at: datetime


class Accounts:
    """Links Discord accounts to people, and says who one stands for."""

    def __init__(self, db: "Database", auth: "Auth", audit: "Audit") -> None:
        """Take the database, the people, and the log that a link goes into."""
        self._db = db
        self._auth = auth
        self._audit = audit

    async def new_code(self, user_id: str) -> tuple[str, datetime]:
        """Return a fresh code of a person and until when it works; earlier ones work no more."""
        code = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
        values = {"user": user_id, "hash": digest(code), "minutes": MINUTES}
        async with self._db.bare() as bare:
            return code, await bare.scalar(_MAKE, values)

    async def link(self, code: str, discord_id: str, name: str) -> Principal:
        """Use a code up, and let the account stand for the person who made it.

        Raises:
            InvalidInput: when the code is wrong, used, or too old; it does not say which.
            NotAuthenticated: when the person was removed or disabled meanwhile.
        """
        plain = "".join(code.upper().split()).replace("-", "")
        async with self._db.bare() as bare, bare.transaction():
            user_id = await bare.scalar(_USE, {"hash": digest(plain)})
            if user_id is None:
                raise InvalidInput(
                    "This code is not valid: wrong, used, or older than ten minutes",
                    hint="Ask for a new one in the web chat with /discord_link.",
                )
            principal = await self._auth.principal_for_user(user_id)
            values = {"discord": discord_id, "user": user_id, "name": name[:100]}
            await bare.scalar(_LINK, values)
            await self._note(bare, principal, discord_id, name)
        return principal

    async def principal(self, discord_id: str) -> Principal:
        """Return who an account stands for, with their rights of this moment.

        Raises:
            NotAuthenticated: when it is not linked, or the person was removed or disabled.
        """
        async with self._db.session() as session:
            row = await session.get(DiscordAccount, discord_id)
        if row is None:
            raise NotAuthenticated(
                "This Discord account is not linked to anybody here",
                hint="Say /discord_link in the web chat, then send me /link with the code.",
            )
        return await self._auth.principal_for_user(row.user_id)

    async def linked_users(self) -> list[str]:
        """Return everybody who has a linked account."""
        async with self._db.session() as session:
            return list(await session.scalars(select(DiscordAccount.user_id).distinct()))

    async def of_user(self, user_id: str) -> list[LinkedAccount]:
        """Return the accounts of a person."""
        query = select(DiscordAccount).where(DiscordAccount.user_id == user_id)
        async with self._db.session() as session:
            rows = await session.scalars(query.order_by(DiscordAccount.linked_at))
            return [LinkedAccount.model_validate(row, from_attributes=True) for row in rows]

    async def unlink(self, user_id: str) -> int:
        """Let none of a person's accounts stand for them any more; return how many did."""
        gone = delete(DiscordAccount).where(DiscordAccount.user_id == user_id)
        async with self._db.session() as session:
            rows = await session.scalars(gone.returning(DiscordAccount.discord_id))
            return len(rows.all())

    async def _note(
        self, statements: "Statements", who: Principal, discord_id: str, name: str
    ) -> None:
        line = {
            "principal": who.name,
            "surface": Surface.DISCORD.value,
            "tool": "discord_link",
            "call_id": f"discord-link-{discord_id}",
            "session_id": None,
            "outcome": "ok",
            "detail": {"linked": {"discord_id": discord_id, "name": name[:100]}},
        }
        await self._audit.append(statements, line)
