"""A file that is being downloaded: `<name>.<version>.part` beside where it will be, one writer.

Every method blocks and belongs in a thread. The lock is the file's own (flock): it ends with the
process, so a crash leaves a file that the next download goes on with.
"""

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, Self

from nebula.errors import Conflict, NebulaError, PermissionDenied, TooLarge, UpstreamRejected

_READ = 8 * 1024 * 1024


class Hasher(Protocol):
    """What hashlib's objects can do."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take more bytes."""
        ...

    def hexdigest(self) -> str:
        """Return the digest so far."""
        ...


@dataclass(frozen=True)
class Checksum:
    """What a file must hash to: SHA-256, or git's blob id for small files of Hugging Face."""

    kind: Literal["sha256", "git"]
    value: str

    def hasher(self, size: int | None) -> Hasher:
        """Return a new hasher; git's begins with the file's size."""
        if self.kind == "sha256":
            return hashlib.sha256()
        made = hashlib.sha1(usedforsecurity=False)
        made.update(f"blob {size}\0".encode())
        return made


class Part:
    """The open part file: how much is there, appending, checking, and its end."""

    def __init__(
        self, path: Path, final: Path, checksum: Checksum | None, size: int | None
    ) -> None:
        """Take where it lies, what it will be called, and what is known of the whole."""
        self.path = path
        self.final = final
        self.have = 0
        self._checksum = checksum
        self._size = size
        self._handle = -1
        self._mine = False
        self._hasher = self._fresh()

    @classmethod
    def open(cls, final: Path, version: str, checksum: Checksum | None, size: int | None) -> Self:
        """Open or make the part of one version of a file, and lock it.

        Raises:
            Conflict: when another download writes it, or something odd lies in its place.
        """
        part = cls(final.with_name(f"{final.name}.{version}.part"), final, checksum, size)
        with storage(final.parent):
            part._lock()
        return part

    def _lock(self) -> None:
        for _ in range(5):
            self._handle = self._open()
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                self.close()
                raise Conflict(
                    f"{self.final.name} is being downloaded already",
                    hint="Follow that job, or cancel it first.",
                ) from error
            if self._still_there():
                self.have = os.fstat(self._handle).st_size
                self._mine = True
                return
            # Its writer ended between our open and our lock: this handle is the finished file.
            self.close()
        raise Conflict(f"{self.final.name} is being downloaded already")

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            handle = os.open(self.path, flags, 0o644)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise PermissionDenied(
                    f"{self.path.name} is a link, and links are not followed"
                ) from error
            raise
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise Conflict(f"{self.path.name} is not a plain file", hint="Move it out of the way.")
        return handle

    def _still_there(self) -> bool:
        try:
            there = self.path.lstat()
        except FileNotFoundError:
            return False
        mine = os.fstat(self._handle)
        return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)

    def _fresh(self) -> Hasher:
        return self._checksum.hasher(self._size) if self._checksum else hashlib.sha256()

    def begin(self) -> None:
        """Prepare to read again, from the start, what an earlier download left."""
        self._hasher = self._fresh()
        os.lseek(self._handle, 0, os.SEEK_SET)

    def reread(self) -> int:
        """Hash the next piece of what is there; 0 at its end."""
        piece = os.read(self._handle, _READ)
        self._hasher.update(piece)
        return len(piece)

    def empty(self) -> None:
        """Throw away what is there, to begin anew."""
        os.ftruncate(self._handle, 0)
        self.have = 0
        self.begin()

    def append(self, data: bytes) -> None:
        """Write the next bytes.

        Raises:
            TooLarge: when the disk is full.
        """
        with storage(self.final.parent):
            os.lseek(self._handle, self.have, os.SEEK_SET)
            view = memoryview(data)
            while view:
                written = os.write(self._handle, view)
                self._hasher.update(view[:written])
                self.have += written
                view = view[written:]

    def finish(self) -> str:
        """Check the whole and give it its name; returns its digest.

        Raises:
            UpstreamRejected: when it is not what was announced; it is thrown away then.
            Conflict: when another file took the name meanwhile.
        """
        digest = self._hasher.hexdigest()
        if self._checksum is not None and digest != self._checksum.value.lower():
            self.path.unlink(missing_ok=True)
            raise UpstreamRejected(
                f"{self.final.name} arrived damaged: its checksum is not the announced one",
                hint="It was thrown away. Download it again.",
            )
        with storage(self.final.parent):
            os.fsync(self._handle)
            if os.path.lexists(self.final):
                raise Conflict(
                    f"There is a file {self.final.name} by now; this one was kept beside"
                )
            self.path.rename(self.final)
            folder = os.open(self.final.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return digest

    def discard(self) -> None:
        """Remove the part, where nothing was written or nothing more is needed."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file, and so release the lock; an empty part is not left behind."""
        if self._handle >= 0:
            if self._mine and self.have == 0 and self._still_there():
                self.path.unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = -1


@contextmanager
def storage(folder: Path) -> Iterator[None]:
    """Translate what a disk answers inside the block into errors for a person."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, folder) from error


def disk_error(error: OSError, folder: Path) -> NebulaError:
    """Return the error that says what a disk's refusal means."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return TooLarge(
            f"The disk of {folder} is full",
            hint="Make room there and start the download again: it goes on where it stopped.",
        )
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return PermissionDenied(
            f"{folder} may not be written", hint="Let the account that runs Jarvis write there."
        )
    reason = error.strerror or "an input/output error"
    return Conflict(f"{folder} cannot be used: {reason}", hint="Look at the disk and its mount.")
