"""A folder that processes use together: one at a time changes it, the last one cleans up."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class SharedFolder:
    """This process's share of a folder, held as a lock that its end gives back."""

    def __init__(self, folder: Path) -> None:
        """Take the folder; it must exist before it is used."""
        self._folder = folder
        self._share: int | None = None

    @property
    def joined(self) -> bool:
        """Say whether this process has a share."""
        return self._share is not None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let one process at a time start or stop what the folder is for."""
        handle = os.open(self._folder / "start.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def join(self) -> None:
        """Take a share."""
        if self._share is None:
            self._share = os.open(self._folder / "in-use.lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._share, fcntl.LOCK_SH)

    def leave(self) -> bool:
        """Give up the share and say whether nobody else holds one."""
        assert self._share is not None
        try:
            fcntl.flock(self._share, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(self._share)
            self._share = None
        return True
