"""Finds or deletes one model file below a folder: python -m node.erase FOLDER PATH [SIZE].

Without a size it only tells the file's path and bytes; with one it deletes the file, and only
while it has that size: what a person approved is what goes.
"""

import argparse
import json
import stat
import sys
from pathlib import Path

from node.fetch import Failed
from node.models import WEIGHTS, inside, say


def find(folder: Path, path: str) -> tuple[Path, int]:
    """Return a model file below a folder with its bytes; an ending may be left out.

    Raises:
        Failed: when it is not there, no plain file of weights, or reached through a link.
    """
    try:
        root = folder.resolve(strict=True)
    except OSError as error:
        raise Failed(f"the folder {folder} is not there") from error
    named = path.lower().endswith(tuple(WEIGHTS))
    names = [path] if named else [path + ending for ending in sorted(WEIGHTS)]
    found = [file for name in names if (file := inside(root, name, WEIGHTS)).exists()]
    if not found:
        raise Failed(f"{path} is not in {folder}")
    if len(found) > 1:
        raise Failed(f"several files there are called {path}: {', '.join(f.name for f in found)}")
    told = found[0].lstat()
    if not stat.S_ISREG(told.st_mode):
        raise Failed(f"{found[0].name} is not a plain file")
    return found[0], told.st_size


def erase(folder: Path, path: str, size: int) -> Path:
    """Delete a model file that has this many bytes.

    Raises:
        Failed: as `find` says, or when the file has another size now.
    """
    file, now = find(folder, path)
    if now != size:
        raise Failed(f"{file.name} has {now:,} bytes now and had {size:,}")
    file.unlink()
    return file


def main() -> None:
    """Find or delete one file; a failure is one line and the code 1."""
    parser = argparse.ArgumentParser(prog="node.erase")
    parser.add_argument("folder", type=Path)
    parser.add_argument("path")
    parser.add_argument("size", type=int, nargs="?")
    given = parser.parse_args()
    try:
        if given.size is None:
            file, size = find(given.folder, given.path)
        else:
            file, size = erase(given.folder, given.path, given.size), given.size
    except (Failed, OSError) as error:
        say(f"failed: {error}")
        sys.exit(1)
    say(json.dumps({"path": str(file), "size": size}))


if __name__ == "__main__":
    main()
