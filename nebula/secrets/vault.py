"""Seals short secrets with Fernet (AES-128-CBC and HMAC-SHA-256) for columns of the database."""

import asyncio
import contextlib
import os
import stat
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from nebula.errors import Conflict

KEY_FILE = "secrets.key"


class Vault:
    """Seals and opens secrets with the key file of a data folder; the first use makes the key."""

    def __init__(self, home: Path) -> None:
        """Take the data folder; nothing is read yet."""
        self._path = home / KEY_FILE

    async def seal(self, secret: str) -> bytes:
        """Encrypt a secret; the same secret looks different every time."""
        fernet = await asyncio.to_thread(self._fernet)
        return fernet.encrypt(secret.encode())

    async def open(self, sealed: bytes) -> str:
        """Decrypt what `seal` made.

        Raises:
            Conflict: when it was sealed with another key, or was damaged.
        """
        fernet = await asyncio.to_thread(self._fernet)
        try:
            return fernet.decrypt(sealed).decode()
        except InvalidToken as error:
            raise Conflict(
                "A stored secret cannot be opened with the key of this data folder",
                hint=f"Put the {KEY_FILE} back that belongs to this database, or set the secret again.",
            ) from error

    def _fernet(self) -> Fernet:
        try:
            return Fernet(self._read())
        except ValueError as error:
            raise Conflict(
                f"{self._path} does not hold a key",
                hint="Put the right file back; a new key cannot open what the old one sealed.",
            ) from error

    def _read(self) -> bytes:
        try:
            mode = stat.S_IMODE(self._path.stat().st_mode)
        except FileNotFoundError:
            return self._make()
        if mode & 0o077:
            self._path.chmod(0o600)
        return self._path.read_bytes()

    def _make(self) -> bytes:
        """Write a new key for the owner's eyes only, whole or not at all."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_name(f"{KEY_FILE}.{os.getpid()}.{os.urandom(4).hex()}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(Fernet.generate_key())
                file.flush()
                os.fsync(file.fileno())
            # A link fails where another process was faster, and then its key holds.
            with contextlib.suppress(FileExistsError):
                os.link(draft, self._path)
        finally:
            draft.unlink()
        return self._path.read_bytes()
