"""Which local paths may be read: those inside an allowed folder, after following links."""

import os
import stat
from pathlib import Path

from nebula.errors import InvalidInput, NotFound, PermissionDenied, TooLarge


class Roots:
    """The folders an operator allows; the data folder's inbox always is one."""

    def __init__(self, home: Path, more: tuple[Path, ...] = ()) -> None:
        """Take the data folder and the folders that were added by setting."""
        self.inbox = home.resolve() / "inbox"
        self._folders = (self.inbox, *(path.resolve() for path in more))

    def resolve(self, name: str) -> Path:
        """Return the real path of an existing file or folder inside an allowed folder.

        A relative name is looked for in each allowed folder.

        Raises:
            PermissionDenied: when the path leads out of every allowed folder.
            NotFound: when there is no such path.
        """
        given = _parsed(name)
        tried = [given] if given.is_absolute() else [folder / given for folder in self._folders]
        inside = [path for path in (_real(path) for path in tried) if self._allows(path)]
        if not inside:
            raise PermissionDenied(
                f"{name} is outside the folders that may be read",
                hint=f"Put it into {self.inbox}, or let an administrator add its folder to "
                "JARVIS_KNOWLEDGE_ROOTS.",
            )
        for path in inside:
            if _exists(path):
                return path
        raise NotFound(
            f"There is no {name} in the folders that may be read",
            hint=f"Files are looked for in {', '.join(str(folder) for folder in self._folders)}.",
        )

    def _allows(self, path: Path) -> bool:
        return any(path.is_relative_to(folder) for folder in self._folders)


def _parsed(name: str) -> Path:
    if not name or "\x00" in name:
        raise InvalidInput("A path is text without zero bytes")
    return Path(name).expanduser() if name.startswith("~/") else Path(name)


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:
        raise InvalidInput(f"{path} is no usable path") from error


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise InvalidInput("That is no usable path") from error


def read_file(path: Path, *, max_bytes: int) -> bytes:
    """Read a regular file whole; a link that replaced it meanwhile is not followed.

    Raises:
        InvalidInput: when it is no regular file (a pipe, a device).
        TooLarge: when it is larger than `max_bytes`.
        PermissionDenied, NotFound: as the system says.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except FileNotFoundError as error:
        raise NotFound(f"{path.name} is gone") from error
    except OSError as error:
        raise PermissionDenied(
            f"{path.name} cannot be opened: {error.strerror or 'refused'}",
            hint="Give the account that runs Jarvis the right to read it.",
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise InvalidInput(f"{path.name} is not a regular file")
        body = file.read(max_bytes + 1) if status.st_size <= max_bytes else b""
    if status.st_size > max_bytes or len(body) > max_bytes:
        raise TooLarge(
            f"{path.name} has {max(status.st_size, len(body)):,} bytes; "
            f"at most {max_bytes:,} are read",
            hint="Split it, or raise JARVIS_KNOWLEDGE_MAX_FILE_BYTES.",
        )
    return body
