"""Passwords: argon2id in a thread, with the same work for names that do not exist."""

import asyncio
import secrets
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from nebula.errors import InvalidInput

MIN_LENGTH = 8
MAX_LENGTH = 256
_AT_ONCE = 4  # each check takes 64 MiB for a moment


class Passwords:
    """Hashes and checks passwords without blocking the event loop."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        """Take another hasher to choose other costs."""
        self._hasher = hasher or PasswordHasher()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._decoy: str | None = None

    async def hash(self, password: str) -> str:
        """Return the hash to store.

        Raises:
            InvalidInput: when the password is too short or too long.
        """
        if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
            raise InvalidInput(f"A password has {MIN_LENGTH} to {MAX_LENGTH} characters")
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, _normal(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Say whether the password fits; as slow for an unknown user as for a known one."""
        if len(password) > MAX_LENGTH:
            password, stored = "", None
        async with self._slots:
            return await asyncio.to_thread(self._verify, stored, _normal(password))

    def outdated(self, stored: str) -> bool:
        """Say whether a hash was made with other costs than today's."""
        return self._hasher.check_needs_rehash(stored)

    def _verify(self, stored: str | None, password: bytes) -> bool:
        if stored is None:
            self._decoy = self._decoy or self._hasher.hash(secrets.token_hex(16))
        try:
            fits = self._hasher.verify(stored or self._decoy or "", password)
        except (VerificationError, InvalidHashError):
            return False
        return fits and stored is not None


def _normal(password: str) -> bytes:
    """Make the same typed password the same bytes on every keyboard."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
