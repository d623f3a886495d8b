"""Slows down guessing: waits grow with failures, per name and per address."""

from collections.abc import Sequence

from sqlalchemy import delete, text

from nebula.auth.models import AttemptRow
from nebula.auth.settings import AuthSettings
from nebula.auth.tokens import digest
from nebula.db.engine import Database
from nebula.errors import RateLimited

# Counts the attempt as failed before the password is looked at, so that many at once cannot
# slip through; returns no row while the key has to wait: 10 seconds, then 20, 40 and so on. Quiet
# for 15 minutes forgets.
_TAKE = text("""
INSERT INTO auth_attempts AS a (key, failures, last_at) VALUES (:key, 1, now())
ON CONFLICT (key) DO UPDATE SET
    failures = CASE WHEN a.last_at < now() - interval '15 minutes' THEN 1 ELSE a.failures + 1 END,
    last_at = now()
WHERE a.failures < :free OR a.last_at < now() - interval '15 minutes'
   OR a.last_at + make_interval(secs => least(:most, 10 * power(2, least(a.failures - :free, 20)))) < now()
RETURNING failures
""")


class Throttle:
    """Counts failed sign-ins in the database, so that restarts do not forgive."""

    def __init__(self, db: Database, settings: AuthSettings) -> None:
        """Take the limits from settings."""
        self._db = db
        self._settings = settings

    async def take(self, name: str, address: str) -> None:
        """Count one attempt.

        Raises:
            RateLimited: while the name or the address has to wait.
        """
        limits = (
            (name, self._settings.free_failures),
            (address, self._settings.free_failures_address),
        )
        async with self._db.session() as s:
            for key, free in zip(_keys(name, address), limits, strict=True):
                values = {"key": key, "free": free[1], "most": self._settings.max_wait_seconds}
                if (await s.execute(_TAKE, values)).first() is None:
                    raise RateLimited(
                        "Too many wrong passwords",
                        hint="Wait a few minutes, or sign in with a one-time link.",
                    )

    async def forgive(self, name: str, address: str) -> None:
        """Forget the failures after a right password."""
        async with self._db.session() as s:
            await s.execute(delete(AttemptRow).where(AttemptRow.key.in_(_keys(name, address))))


def _keys(name: str, address: str) -> Sequence[str]:
    # Hashed, because people type passwords into the name's field.
    return (f"name:{digest(name)}", f"address:{digest(address)}")
