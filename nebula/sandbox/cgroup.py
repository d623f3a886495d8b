"""A control group for one job: exact bounds on its processes and memory taken together.

Needed where Jarvis is root, whom the kernel lets start any number of processes; used wherever it
can be made, below the group that Jarvis itself is in, so that its own bounds hold too.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from nebula.sandbox.job import Limits

_ROOT = Path("/sys/fs/cgroup")
_PREFIX = "nebula-sandbox-"
_log = structlog.get_logger(__name__)
_numbers = itertools.count()


@dataclass(frozen=True)
class Place:
    """Where groups can be made: one folder for all (version 2), or one for each controller."""

    memory: Path
    pids: Path

    @property
    def unified(self) -> bool:
        """Whether one group bounds both."""
        return self.memory == self.pids


@dataclass(frozen=True)
class Group:
    """One job's group."""

    folders: Sequence[Path]

    @property
    def doors(self) -> Sequence[Path]:
        """The files through which a process enters by writing 0.

        `tasks`, which version 2 lacks, moves one thread without the kernel's wait for a grace
        period, some 15 ms.
        """
        found = []
        for folder in self.folders:
            tasks = folder / "tasks"
            found.append(tasks if tasks.exists() else folder / "cgroup.procs")
        return found

    def killed_for_memory(self) -> bool:
        """Say whether the kernel killed one of its processes because memory ran out."""
        for name in ("memory.events", "memory.oom_control"):
            with suppress(OSError):
                lines = (self.folders[0] / name).read_text().splitlines()
                return any(
                    line.split()[0] == "oom_kill" and line.split()[1] != "0" for line in lines
                )
        return False


def find_place(root: Path = _ROOT, own: Path = Path("/proc/self/cgroup")) -> Place | None:
    """Find where this process may make groups that bound memory and processes."""
    groups = _own_groups(own)
    if {"memory", "pids"} <= groups.keys():
        memory, pids = (root / name / groups[name].lstrip("/") for name in ("memory", "pids"))
        place = Place(memory, pids)
    elif "" in groups:
        mine = root / groups[""].lstrip("/")
        # A group of version 2 that holds processes cannot bound groups below it: go beside it.
        beside = mine if mine == root else mine.parent
        if not {"memory", "pids"} <= _words(beside / "cgroup.subtree_control"):
            return None
        place = Place(beside, beside)
    else:
        return None
    return (
        place if all(os.access(folder, os.W_OK) for folder in (place.memory, place.pids)) else None
    )


@contextmanager
def group(place: Place, limits: Limits) -> Iterator[Group]:
    """Make a group for one job; it must be empty again when the block ends."""
    name = f"{_PREFIX}{os.getpid()}-{next(_numbers)}"
    folders = [place.memory / name] if place.unified else [place.memory / name, place.pids / name]
    try:
        for folder in folders:
            folder.mkdir()
        (folders[-1] / "pids.max").write_text(str(limits.processes))
        if place.unified:
            (folders[0] / "memory.max").write_text(str(limits.memory))
            with suppress(FileNotFoundError):  # a kernel without swap
                (folders[0] / "memory.swap.max").write_text("0")
        else:
            (folders[0] / "memory.limit_in_bytes").write_text(str(limits.memory))
            with suppress(FileNotFoundError):  # without swap accounting
                (folders[0] / "memory.memsw.limit_in_bytes").write_text(str(limits.memory))
        yield Group(folders)
    finally:
        for folder in folders:
            try:
                folder.rmdir()
            except OSError as error:
                # Swept when Jarvis starts anew; the job's own outcome matters more.
                _log.warning("a cgroup stays behind", group=str(folder), error=str(error))


def sweep(place: Place) -> None:
    """Remove groups of processes that are gone."""
    for parent in {place.memory, place.pids}:
        for folder in parent.glob(f"{_PREFIX}*"):
            owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
            if owner.isdigit() and not Path("/proc", owner).exists():
                with suppress(OSError):
                    folder.rmdir()


def _own_groups(own: Path) -> dict[str, str]:
    """Return controller → group of this process; "" is version 2."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return {}
    found: dict[str, str] = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        found |= dict.fromkeys(controllers.split(","), path)
    return found


def _words(file: Path) -> set[str]:
    try:
        return set(file.read_text().split())
    except OSError:
        return set()
