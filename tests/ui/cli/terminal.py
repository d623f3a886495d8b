"""Runs `jarvis` as a person does: a process of its own, with or without a terminal."""

import contextlib
import io
import logging
import os
import pty
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import structlog

from nebula.packages import checkout
from ui.cli.main import main

SECONDS = 90.0


class Ended(NamedTuple):
    """How a command ended, named as subprocess names it."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Terminal:
    """One data folder and database, and the commands typed over them."""

    home: Path
    database_url: str = ""
    more: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "PYTHONPATH": str(checkout()),
            "JARVIS_HOME": str(self.home),
            "DATABASE_URL": self.database_url,
            "OLLAMA_HOST": "http://127.0.0.1:1",
            "COLUMNS": "200",
            "NO_COLOR": "1",
            **self.more,
        }

    def run(self, *arguments: str, text: str = "") -> Ended:
        """Run a command in this process, which saves seconds of imports."""
        root = logging.getLogger()
        before = root.handlers[:], root.level
        out, err, code = io.StringIO(), io.StringIO(), 0
        with (
            patch.object(sys, "argv", ["jarvis", *arguments]),
            patch.object(sys, "stdin", io.StringIO(text)),
            patch.dict(os.environ, self.environment, clear=True),
            contextlib.chdir(self.home),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                main()
            except SystemExit as left:
                code = int(left.code or 0)
        root.handlers[:], level = before
        root.setLevel(level)
        structlog.reset_defaults()
        return Ended(code, out.getvalue(), err.getvalue())

    def process(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ui.cli.main", *arguments],
            input=text,
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=self.home,
            timeout=SECONDS,
            check=False,
        )

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "ui.cli.main", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
            cwd=self.home,
        )

    def type(self, *arguments: str, answers: list[tuple[str, bytes]]) -> tuple[int, str]:
        """Run in a real terminal: after each awaited text, type an answer."""
        child, screen = pty.fork()
        if child == 0:
            os.chdir(self.home)
            os.execve(
                sys.executable,
                [sys.executable, "-m", "ui.cli.main", *arguments],
                {**self.environment, "TERM": "dumb"},
            )
        seen, at = "", 0
        try:
            for awaited, answer in answers:
                seen = _read_until(screen, seen, at, awaited)
                at = seen.index(awaited, at) + len(awaited)
                os.write(screen, answer)
            seen = _read_until(screen, seen, at, None)
        finally:
            os.close(screen)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), seen


def _read_until(screen: int, seen: str, at: int, awaited: str | None) -> str:
    """Read the screen until a text appears from a place on, or to the end."""
    deadline = time.monotonic() + SECONDS
    while awaited is None or awaited not in seen[at:]:
        ready, _, _ = select.select([screen], [], [], max(0, deadline - time.monotonic()))
        assert ready, f"waited for {awaited!r}, saw:\n{seen}"
        try:
            chunk = os.read(screen, 4096)
        except OSError:  # the program ended
            chunk = b""
        if not chunk:
            assert awaited is None, f"ended before {awaited!r}, saw:\n{seen}"
            break
        seen += chunk.decode(errors="replace")
    return seen
