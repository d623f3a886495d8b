"""Where the key is that seals the secrets: a file of the data folder, or the system's keyring.

Either place holds one key per line. The first one seals; the others only open what was sealed
before a change of keys that has not ended.
"""

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from cryptography.fernet import Fernet

from nebula.errors import Conflict, UpstreamUnavailable

KEY_FILE = "secrets.key"
_SERVICE = "nebula-command"


class KeyPlace(Protocol):
    """A place that holds keys."""

    def read(self) -> list[bytes]:
        """Return the keys, the sealing one first; none when there is no key yet."""
        ...

    def write(self, keys: Sequence[bytes]) -> None:
        """Replace the keys, whole or not at all."""
        ...

    def make(self) -> list[bytes]:
        """Make the first key, unless somebody was faster, and return what holds now."""
        ...

    def remove(self) -> None:
        """Forget the keys."""
        ...

    def __str__(self) -> str:
        """Name the place, for people."""
        ...


class KeyFile:
    """Keys in a file that only its owner may read."""

    def __init__(self, home: Path) -> None:
        """Take the data folder; nothing is read yet."""
        self._path = home / KEY_FILE

    def __str__(self) -> str:
        return str(self._path)

    def read(self) -> list[bytes]:
        """Return the keys; a file that others may read is closed to them."""
        try:
            mode = stat.S_IMODE(self._path.stat().st_mode)
        except FileNotFoundError:
            return []
        if mode & 0o077:
            self._path.chmod(0o600)
        return self._path.read_bytes().split()

    def write(self, keys: Sequence[bytes]) -> None:
        """Replace the file whole."""
        draft = self._draft(keys)
        draft.replace(self._path)
        _sync(self._path.parent)

    def make(self) -> list[bytes]:
        """Write a first key, whole or not at all."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._draft([Fernet.generate_key()])
        try:
            # A link fails where another process was faster, and then its key holds.
            with contextlib.suppress(FileExistsError):
                os.link(draft, self._path)
        finally:
            draft.unlink()
        return self.read()

    def remove(self) -> None:
        """Delete the file."""
        self._path.unlink(missing_ok=True)

    def _draft(self, keys: Sequence[bytes]) -> Path:
        draft = self._path.with_name(f"{KEY_FILE}.{os.getpid()}.{os.urandom(4).hex()}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(b"\n".join(keys))
            file.flush()
            os.fsync(file.fileno())
        return draft


class Keyring:
    """Keys in the keyring of the account: Secret Service, KWallet, macOS Keychain, Windows."""

    def __init__(self, home: Path) -> None:
        """Take the data folder, whose path names the entry."""
        self._account = str(home.resolve())

    def __str__(self) -> str:
        return "the system's keyring"

    def read(self) -> list[bytes]:
        """Return the keys.

        Raises:
            UpstreamUnavailable: when no keyring answers here.
        """
        import keyring

        with _translated():
            return (keyring.get_password(_SERVICE, self._account) or "").encode().split()

    def write(self, keys: Sequence[bytes]) -> None:
        """Replace the entry."""
        import keyring

        with _translated():
            keyring.set_password(_SERVICE, self._account, b"\n".join(keys).decode())

    def make(self) -> list[bytes]:
        """Make the first key."""
        if not self.read():
            self.write([Fernet.generate_key()])
        return self.read()

    def remove(self) -> None:
        """Delete the entry."""
        import keyring
        from keyring.errors import PasswordDeleteError

        with _translated(), contextlib.suppress(PasswordDeleteError):
            keyring.delete_password(_SERVICE, self._account)


class Moved:
    """The keyring of an installation whose key is still in the file: it makes no second key."""

    def __init__(self, home: Path) -> None:
        """Take the data folder."""
        self._ring, self._file = Keyring(home), KeyFile(home)
        self.read, self.write, self.remove = self._ring.read, self._ring.write, self._ring.remove

    def __str__(self) -> str:
        return str(self._ring)

    def make(self) -> list[bytes]:
        """Make the first key, unless there is one in the file.

        Raises:
            Conflict: when the file holds the key, which must move first.
        """
        if self._file.read():
            raise Conflict(
                f"The key is still in {self._file}, not in {self._ring}",
                hint="Stop Jarvis and run `jarvis secrets rekey`: it moves the key.",
            )
        return self._ring.make()


def place_of(home: Path, kind: str) -> KeyPlace:
    """Return where the settings say that the key is: `file` or `keyring`."""
    return Moved(home) if kind == "keyring" else KeyFile(home)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    from keyring.errors import KeyringError

    try:
        yield
    except KeyringError as error:
        raise UpstreamUnavailable(
            "No keyring answers in this session",
            hint="Unlock or install one (such as gnome-keyring), or set JARVIS_SECRETS_KEY=file.",
        ) from error


def _sync(folder: Path) -> None:
    """Make a rename in a folder last, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
