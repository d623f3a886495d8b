"""What the agent did, one JSON line each, only ever appended and on the disk before it counts.

A checker reads it afterwards: tokens of a card never fall, every task ends once, the sum of what
runs on a card stays within it. After a crash the agent finds in it what it had started.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from node.clock import now


class Journal:
    """An append-only file of events."""

    def __init__(self, path: Path) -> None:
        """Open the file; a line that a crash cut off is left behind on a line of its own."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("a+b", buffering=0)
        if self._file.tell() and not self._ends_whole():
            self._file.write(b"\n")

    def _ends_whole(self) -> bool:
        with self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def write(self, event: str, **details: Any) -> None:
        """Append one event; returns when it is on the disk."""
        line = {"event": event, "at": round(time.time(), 3), "clock": round(now(), 3), **details}
        self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        os.fsync(self._file.fileno())

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield every event that was written whole."""
        with self._path.open("rb") as file:
            for line in file:
                try:
                    found = json.loads(line)
                except ValueError:
                    continue
                if isinstance(found, dict):
                    yield found

    def close(self) -> None:
        """Close the file."""
        self._file.close()
