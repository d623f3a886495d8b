"""Where our code is: the top-level packages of this checkout, lowest layer first."""

from collections.abc import Iterator
from pathlib import Path

LAYERS = ("node", "nebula", "memory", "knowledge", "tools", "agents", "graphs", "api", "ui")


def checkout() -> Path:
    """Return the folder that holds every top-level package."""
    return Path(__file__).resolve().parents[1]


def folders_named(name: str) -> list[Path]:
    """Return every folder of this name inside our packages, sorted."""
    return sorted(path for path in _walk(name) if path.is_dir())


def modules_named(name: str) -> list[str]:
    """Return the dotted names of every module called `name` inside our packages, sorted."""
    root = checkout()
    files = sorted(_walk(f"{name}.py"))
    return [".".join(file.relative_to(root).with_suffix("").parts) for file in files]


def _walk(pattern: str) -> Iterator[Path]:
    for layer in LAYERS:
        for found in (checkout() / layer).rglob(pattern):
            if "__pycache__" not in found.parts:
                yield found
