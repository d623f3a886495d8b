"""This Python inside the sandbox: where its program is, and which folders it needs to see."""

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Interpreter:
    """A Python program, and the folders to be read with it."""

    program: str
    folders: tuple[Path, ...]


def interpreter() -> Interpreter:
    """Return this process's Python, its virtual environment included."""
    prefix = Path(sys.prefix).resolve()
    homes = {prefix, Path(sys.base_prefix).resolve(), Path(sys.base_exec_prefix).resolve()}
    program = prefix / "bin" / Path(sys.executable).name
    return Interpreter(
        str(program),
        tuple(sorted(home for home in homes if not home.is_relative_to("/usr"))),
    )
