"""Sign-ins, keys, links and passwords as lines of the audit log, with what they tell of."""

from enum import StrEnum
from typing import Any

from nebula.auth.models import UserRow
from nebula.auth.principal import Surface
from nebula.auth.tokens import new_id
from nebula.db.bare import Statements
from nebula.db.engine import Database
from nebula.tool.audit.log import Audit

NOBODY = "nobody"
"""Whose lines tell of names that nobody has: people type passwords into the name's field."""


class Act(StrEnum):
    """What is written down of who comes in; stands in the line where a call has its tool."""

    SIGN_IN = "auth_sign_in"
    SIGN_OUT = "auth_sign_out"
    CONFIRM = "auth_confirm"
    LINK_CREATE = "auth_link_create"
    KEY_CREATE = "auth_key_create"
    KEY_REVOKE = "auth_key_revoke"
    PASSWORD_SET = "auth_password_set"  # noqa: S105 - the name of an act


class Noted:
    """Writes such lines, in the transaction of what they tell of."""

    def __init__(self, db: Database) -> None:
        """Take the database that holds the log."""
        self._db = db
        self._audit = Audit(db)

    async def note(
        self, session: Statements, act: Act, account: str, *, outcome: str = "ok", **detail: Any
    ) -> None:
        """Add a line about an account within a transaction."""
        line = {
            "principal": account,
            "surface": Surface.SYSTEM.value,
            "tool": act.value,
            "call_id": new_id("acc"),
            "session_id": None,
            "outcome": outcome,
            "detail": {name: value for name, value in detail.items() if value},
        }
        await self._audit.append(session, line)

    async def of(self, session: Any, act: Act, user_id: str, **detail: Any) -> None:
        """Add a line about the account with an id."""
        user = await session.get(UserRow, user_id)
        await self.note(session, act, user.name if user else user_id, **detail)

    async def refused(self, act: Act, account: str | None, *, why: str, address: str) -> None:
        """Add a line about an attempt that failed."""
        async with self._db.session() as session:
            await self.note(
                session, act, account or NOBODY, outcome="denied", why=why, address=address
            )
