"""Asks a program of this machine; a program that is missing, slow or upset says nothing."""

import shutil
import subprocess
from collections.abc import Sequence


def output(argv: Sequence[str], *, seconds: float = 5.0) -> str:
    """Return what a program prints; nothing when it is not there or fails (blocking)."""
    path = shutil.which(argv[0])
    if path is None:
        return ""
    try:
        done = subprocess.run(
            [path, *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
