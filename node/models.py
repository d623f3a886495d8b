"""Stores one model file below a folder: python -m node.models FOLDER URL PATH SHA256 SIZE."""

import argparse
import contextlib
import hashlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from node.fetch import Failed, download

_RESERVE = 2 * 1024**3
WEIGHTS = frozenset({".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin", ".onnx"})
"""Endings of files that hold weights."""
_ENDINGS = WEIGHTS | {".json", ".txt", ".model", ".yaml", ".yml"}
UNKNOWN = "-"
"""Stands for a checksum that nobody announced."""


def store(folder: Path, url: str, path: str, sha256: str, size: int) -> None:
    """Download a file to a path below a folder; nothing is written anywhere else.

    `sha256` is `-` and `size` 0 when they are not known. What broke off is gone on with.
    """
    try:
        root = folder.resolve(strict=True)
    except OSError as error:
        raise Failed(f"the folder {folder} is not there") from error
    target = inside(root, path)
    wanted = "" if sha256 == UNKNOWN else sha256.lower()
    if target.exists():
        _same(target, wanted, size)
        say(f"{target.name} is there already")
        return
    partial = target.with_name(f"{target.name}.partial")
    have = partial.stat().st_size if partial.exists() else 0
    free = shutil.disk_usage(root).free
    if free - max(0, size - have) < _RESERVE:
        raise Failed(f"{target.name} needs {size - have:,} more bytes; the disk has {free:,}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target):
        download(url, target, sha256=wanted)
    say(f"{target.name} is stored")


def inside(root: Path, path: str, endings: frozenset[str] = _ENDINGS) -> Path:
    """Return the file of a path below a root, reached through no link.

    Raises:
        Failed: when the path leads out, is no model's, or a part of it is a link.
    """
    parts = PurePosixPath(path).parts
    odd = not parts or any(p in {"/", "..", "."} or set(p) & set('\\:*?"<>|\0') for p in parts)
    if odd or len(parts) > 8 or PurePosixPath(path).suffix.lower() not in endings:
        raise Failed(f"{path!r} is no place for a model")
    at = root
    for part in parts:
        at = at / part
        if at.is_symlink():
            raise Failed(f"{at} is a link, and links are not followed")
    return at


def _same(target: Path, sha256: str, size: int) -> None:
    with target.open("rb") as data:
        same = not size or target.stat().st_size == size
        same = same and (not sha256 or hashlib.file_digest(data, "sha256").hexdigest() == sha256)
    if not same:
        raise Failed(f"another file called {target.name} is there already")


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Let one process at a time write a file; the lock ends with the process."""
    lock = target.with_name(f".{target.name}.lock")
    with lock.open("wb") as handle:
        try:
            _lock(handle)
        except OSError as error:
            raise Failed(f"{target.name} is being downloaded already") from error
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                lock.unlink()


def _lock(handle: IO[bytes]) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def say(text: str) -> None:
    """Write a line that whoever follows the task sees at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Store one file; a failure is one line and the code 1."""
    parser = argparse.ArgumentParser(prog="node.models")
    parser.add_argument("folder", type=Path)
    parser.add_argument("url")
    parser.add_argument("path")
    parser.add_argument("sha256")
    parser.add_argument("size", type=int)
    given = parser.parse_args()
    try:
        store(given.folder, given.url, given.path, given.sha256, given.size)
    except (Failed, OSError) as error:
        say(f"failed: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
