"""Seals short secrets with Fernet (AES-128-CBC and HMAC-SHA-256) for columns of the database.

A column that holds what a vault sealed is of type `bytea` and named `sealed` or `…_sealed`: a
change of keys and the redaction of every process find it by that.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from nebula.errors import Conflict
from nebula.secrets.keys import KEY_FILE, KeyFile, KeyPlace, place_of
from nebula.secrets.redact import LIVE

if TYPE_CHECKING:
    from nebula.settings import Settings

__all__ = ["KEY_FILE", "USED", "Vault"]

USED = "used"
"""What was sealed or opened in this process stays hidden until the process ends."""


class Vault:
    """Seals and opens secrets with the key of an installation; the first use makes the key."""

    def __init__(self, home: Path, place: KeyPlace | None = None) -> None:
        """Take the data folder, and where the key is if not in its file; nothing is read yet."""
        self._place = place or KeyFile(home)

    @classmethod
    def of(cls, settings: "Settings") -> "Vault":
        """Return the vault that the settings describe."""
        return cls(settings.home, place_of(settings.home, settings.secrets_key))

    async def seal(self, secret: str, *, known: bool = True) -> bytes:
        """Encrypt a secret; the same secret looks different every time.

        One that is about to be shown once is not `known`: it is hidden from the next look at the
        database on.
        """
        if known:
            LIVE.know_also(USED, secret)
        keys = await asyncio.to_thread(self.keys)
        return self._fernets(keys).encrypt(secret.encode())

    async def open(self, sealed: bytes) -> str:
        """Decrypt what `seal` made.

        Raises:
            Conflict: when it was sealed with another key, or was damaged.
        """
        secret = (await self.open_each([sealed]))[0]
        if secret is None:
            raise Conflict(
                "A stored secret cannot be opened with the key of this data folder",
                hint=f"Put the key ({KEY_FILE}) back that belongs to this database, "
                "or set the secret again.",
            )
        LIVE.know_also(USED, secret)
        return secret

    async def open_each(self, sealed: Iterable[bytes]) -> list[str | None]:
        """Decrypt several; None stands for what cannot be opened with the present keys."""
        tokens = list(sealed)
        keys = await asyncio.to_thread(self._place.read) if tokens else []
        if not keys:
            return [None] * len(tokens)
        fernets = self._fernets(keys)
        return [_opened(fernets, token) for token in tokens]

    async def fingerprint(self, secret: str) -> bytes:
        """Return a keyed hash: equal secrets have equal ones, and nobody can guess from them."""
        return fingerprint((await asyncio.to_thread(self.keys))[0], secret)

    def keys(self) -> list[bytes]:
        """Return the keys, made now when there is none; the first seals. Blocks."""
        return self._place.read() or self._place.make()

    def _fernets(self, keys: Iterable[bytes]) -> MultiFernet:
        try:
            return MultiFernet([Fernet(key) for key in keys])
        except ValueError as error:
            raise Conflict(
                f"{self._place} does not hold a key",
                hint="Put the right one back; a new key cannot open what the old one sealed.",
            ) from error


def fingerprint(key: bytes, secret: str) -> bytes:
    """Return the keyed hash of a secret under one sealing key."""
    own = hmac.digest(key, b"nebula fingerprint of secrets", hashlib.sha256)
    return hmac.digest(own, secret.encode(), hashlib.sha256)


def _opened(keys: MultiFernet, token: bytes) -> str | None:
    try:
        return keys.decrypt(token).decode()
    except InvalidToken:
        return None
