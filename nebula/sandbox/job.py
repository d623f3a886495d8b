"""What is run in the sandbox, and how it ended."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from nebula.errors import InvalidInput
from nebula.sandbox.reach import Opens

_MIB = 1024**2
SCRATCH = Path("/tmp")  # noqa: S108 - the sandbox's own, empty and gone with it
_NEVER = tuple(map(Path, ("/proc", "/sys", "/dev", "/run", "/boot", "/etc")))
"""Nothing in these can be shown: the machine itself, and sockets of its services."""


@dataclass(frozen=True)
class Limits:
    """How much one job may take; sizes in bytes."""

    seconds: float = 60.0
    cpu_seconds: int = 600
    """Of each process."""
    memory: int = 2048 * _MIB
    """Of all processes together where a cgroup can be made, else of each."""
    processes: int = 256
    """Threads count too."""
    open_files: int = 1024
    file: int = 512 * _MIB
    """The largest file it may write."""
    scratch: int = 256 * _MIB
    """Of its own /tmp, and again of /dev/shm."""
    growth: int = 2048 * _MIB
    """How much the folders it may write may grow."""
    output: int = _MIB
    """Of what it prints, on each of its two streams; beginning and end are kept."""


@dataclass(frozen=True)
class Sandboxed:
    """One program to run; it sees /usr, the paths named here, and nothing else.

    Paths are absolute and real: no part of them is a link. `write` wins over `read` where one lies
    within the other and is the deeper one, and the other way round; `hide` is empty inside.
    """

    argv: tuple[str, ...]
    folder: Path = SCRATCH
    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    hide: tuple[Path, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    """All it gets besides PATH, HOME and LANG."""
    stdin: bytes = b""
    network: bool = False
    """Whether it shares this machine's network, its loopback included."""
    reach: Opens | None = None
    """The one place outside that it may talk to, without a network: see reach.py."""
    limits: Limits = Limits()


class Ended(StrEnum):
    """Why a job is over."""

    EXITED = "exited"
    KILLED = "killed"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    OUT_OF_DISK = "out_of_disk"


@dataclass(frozen=True)
class Finished:
    """How a job ended, and what it printed."""

    ended: Ended
    exit_code: int
    """As a shell tells it: 128 and the signal's number after a signal."""
    stdout: bytes
    stderr: bytes
    output_cut: bool
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether it ended by itself and says that all went well."""
        return self.ended is Ended.EXITED and self.exit_code == 0

    @property
    def signal(self) -> int | None:
        """The signal that ended it, if one did."""
        return self.exit_code - 128 if self.ended is not Ended.EXITED else None

    @property
    def text(self) -> str:
        """What it printed on stdout, as text."""
        return self.stdout.decode("utf-8", "replace")


def check(job: Sandboxed) -> None:
    """Refuse a job that cannot be run as it is told.

    Raises:
        InvalidInput: names what is wrong.
    """
    words = (*job.argv, *job.environment, *job.environment.values())
    if not job.argv or not job.argv[0]:
        raise InvalidInput("A sandboxed job needs a program to run")
    named = all(name and "=" not in name for name in job.environment)
    if not named or not all(_writable(word) for word in words):
        raise InvalidInput("An argument or variable of the sandboxed job holds a forbidden sign")
    for path in (*job.read, *job.write, *job.hide):
        _check_path(path)
    shown = (SCRATCH, Path("/usr"), *job.read, *job.write)
    if not any(job.folder.is_relative_to(path) for path in shown):
        raise InvalidInput(
            f"The sandboxed job cannot work in {job.folder}",
            hint="Name it, or a folder above it, among the paths it may read or write.",
        )


def _writable(word: str) -> bool:
    try:
        return b"\0" not in os.fsencode(word)
    except UnicodeEncodeError:
        return False


def _check_path(path: Path) -> None:
    if any(path.is_relative_to(root) or root.is_relative_to(path) for root in _NEVER):
        raise InvalidInput(f"{path} is never shown to a sandboxed job")
    try:
        real = path.resolve(strict=True)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be shown: {error.strerror}") from error
    if real != path:
        # A link in a folder that an earlier job wrote could lead anywhere.
        raise InvalidInput(
            f"{path} cannot be shown to a sandboxed job: it is a link or not absolute",
            hint="Name the real folder.",
        )
