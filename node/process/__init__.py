"""Starting a program with everything it starts in turn, and ending all of it."""

import sys
from typing import Any

if sys.platform == "win32":  # pragma: no cover - Linux runs the tests
    from node.process import windows as _system
else:
    from node.process import posix as _system


def adopt_orphans() -> None:
    """Have processes whose parent ended become our children, where the system can do that."""
    _system.adopt_orphans()


def options() -> dict[str, Any]:
    """Return what `subprocess.Popen` needs to start a group of its own."""
    return _system.options()


def end(pid: int, *, hard: bool) -> None:
    """Ask the group of a process to end, or (`hard`) end it now; gone already is fine."""
    _system.end(pid, hard=hard)


def started_at(pid: int) -> str | None:
    """Return what tells a process from a later one with the same number; None when gone."""
    return _system.started_at(pid)


def descendants(pid: int) -> list[int]:
    """Return what a process and its children started and is still there."""
    return _system.descendants(pid)
