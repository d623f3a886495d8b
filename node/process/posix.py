"""Process groups of Linux and macOS."""

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Any

_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_PDEATHSIG = 1


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants (Linux's subreaper), so that none escapes."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def options() -> dict[str, Any]:
    """Start a session of its own: one group, no terminal."""
    return {"start_new_session": True, "close_fds": True}


def end(pid: int, *, hard: bool) -> None:
    """Signal the whole group."""
    if pid <= 1:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL if hard else signal.SIGTERM)


def started_at(pid: int) -> str | None:
    """Return the start time that the kernel keeps; zombies count as gone."""
    found = _stat(pid)
    return None if found is None or found[0] == "Z" else found[2]


def descendants(pid: int) -> list[int]:
    """Return every process below one, from /proc; zombies are left out."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        found = _stat(int(entry.name))
        if found is not None and found[0] != "Z":
            parents.setdefault(found[1], []).append(int(entry.name))
    below, layer = [], [pid]
    while layer:
        layer = [child for parent in layer for child in parents.get(parent, ())]
        below += layer
    return below


def _stat(pid: int) -> tuple[str, int, str] | None:
    """Return state, parent and start time of a process (proc_pid_stat(5), fields 3, 4, 22)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in parentheses may hold anything, so the fields are counted from its end.
    fields = text.rpartition(")")[2].split()
    return (fields[0], int(fields[1]), fields[19]) if len(fields) > 19 else None
