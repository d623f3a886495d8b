"""Starts a program behind a warden, and keeps the line to it."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node import process

_ROOT = Path(__file__).resolve().parents[1]
_START_SECONDS = 20.0
# What a program needs to find its files and libraries; nothing of ours, and no secrets.
_KEPT = (
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_PATH",
    "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "USERPROFILE", "APPDATA", "LOCALAPPDATA",
    "PROGRAMDATA", "PROGRAMFILES", "TEMP", "TMP", "PATHEXT", "COMSPEC",
)  # fmt: skip


@dataclass(frozen=True)
class Ending:
    """How a program ended: `why` is exited, killed, fenced, orphaned or unstartable."""

    code: int | None
    why: str
    detail: str
    at: float


@dataclass
class Launched:
    """A program behind its warden."""

    warden: asyncio.subprocess.Process
    folder: Path
    pid: int | None
    started: str | None

    def tell(self, word: str) -> None:
        """Send the warden a line; when it is gone, there is nobody to tell."""
        pipe = self.warden.stdin
        if pipe is not None and not pipe.is_closing():
            with contextlib.suppress(OSError, RuntimeError):
                pipe.write(word.encode() + b"\n")

    def allow_until(self, until: float | None) -> None:
        """Set the moment, on the shared clock, at which the program is ended."""
        self.tell("until" if until is None else f"until {until!r}")

    async def ended(self) -> Ending:
        """Wait until nothing of the program is left, and say how it ended."""
        await self.warden.wait()
        if self.warden.stdin is not None:
            self.warden.stdin.close()
        return read_ending(self.folder) or Ending(None, "lost", "its warden was killed", 0.0)


def surroundings(more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a program: what it needs of ours, and its own."""
    kept = {k: v for k, v in os.environ.items() if k.upper() in _KEPT}
    return kept | dict(more)


def read_ending(folder: Path) -> Ending | None:
    """Return how a program ended, when its warden wrote it down."""
    try:
        found = json.loads((folder / "exit.json").read_text())
        return Ending(found["code"], found["why"], found["detail"], found["at"])
    except (OSError, ValueError, KeyError):
        return None


def _prepare(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "exit.json").unlink(missing_ok=True)


async def launch(
    argv: Sequence[str],
    folder: Path,
    *,
    env: Mapping[str, str],
    cwd: str | None = None,
    until: float | None = None,
    grace: float = 3.0,
) -> Launched:
    """Start a program; its log and its end are written into the folder."""
    await asyncio.to_thread(_prepare, folder)
    spec: dict[str, Any] = {
        "argv": list(argv),
        "cwd": cwd or str(folder),
        "env": surroundings(env),
        "log": str(folder),
        "exit": str(folder / "exit.json"),
        "until": until,
        "grace": grace,
    }
    warden = await asyncio.create_subprocess_exec(
        sys.executable, "-S", "-m", "node.warden",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=surroundings({"PYTHONPATH": str(_ROOT), "PYTHONUTF8": "1"}),
        cwd=str(_ROOT),
        # In a session of its own, so that Ctrl-C at the agent does not reach it.
        start_new_session=True,
    )  # fmt: skip
    assert warden.stdin is not None and warden.stdout is not None
    launched = Launched(warden, folder, None, None)
    launched.tell(json.dumps(spec))
    try:
        async with asyncio.timeout(_START_SECONDS):
            told = json.loads(await warden.stdout.readline() or b"{}")
    except (TimeoutError, ValueError):
        told = {}
    launched.pid, launched.started = told.get("pid"), told.get("started")
    return launched


async def end_for_good(pid: int, started: str | None) -> None:
    """End a group whose warden is gone; a later process of the same number is left alone."""
    while started is not None and process.started_at(pid) == started:
        process.end(pid, hard=True)
        await asyncio.sleep(0.05)
