"""Process trees of Windows, ended by its own `taskkill`."""

import subprocess
from typing import Any

# subprocess.CREATE_NEW_PROCESS_GROUP and CREATE_NO_WINDOW, which other systems do not name.
_NEW_GROUP = 0x00000200
_NO_WINDOW = 0x08000000
_SECONDS = 10


def adopt_orphans() -> None:
    """Do nothing: `taskkill /T` follows the tree by itself."""


def options() -> dict[str, Any]:
    """Start a group of its own without a window."""
    return {"creationflags": _NEW_GROUP | _NO_WINDOW, "close_fds": True}


def end_argv(pid: int, *, hard: bool) -> list[str]:
    """Return the command that ends a tree of processes."""
    return ["taskkill", "/T", *(["/F"] if hard else []), "/PID", str(pid)]


def end(pid: int, *, hard: bool) -> None:
    """End a tree; gone already is fine."""
    subprocess.run(
        end_argv(pid, hard=hard),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=_SECONDS,
        check=False,
    )


def started_at(pid: int) -> str | None:
    """Return when a process began."""
    import psutil

    try:
        return str(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def descendants(pid: int) -> list[int]:
    """Return every process below one."""
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []
