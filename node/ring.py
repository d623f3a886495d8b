"""Log files in a ring: pieces named by the place where they begin, the oldest dropped.

A place is a byte's number since the beginning, so that a reader can go on where it was.
"""

from collections.abc import Sequence
from pathlib import Path

PIECE = 1024 * 1024
PIECES = 4
_LONGEST = 8 * 1024


class RingWriter:
    """Appends bytes to the ring of a folder; one writer at a time."""

    def __init__(self, folder: Path, *, piece: int = PIECE, pieces: int = PIECES) -> None:
        """Take the folder, how large a piece grows, and how many are kept."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._piece = piece
        self._pieces = pieces
        starts = _starts(folder)
        self._start = starts[-1] if starts else 0
        self._file = _path(folder, self._start).open("ab", buffering=0)
        self._size = self._file.tell()

    def write(self, data: bytes) -> None:
        """Append, going on in a new piece when this one is full."""
        if self._size >= self._piece:
            self._file.close()
            self._start += self._size
            self._file = _path(self._folder, self._start).open("ab", buffering=0)
            self._size = 0
            for old in _starts(self._folder)[: -self._pieces]:
                _path(self._folder, old).unlink(missing_ok=True)
        self._file.write(data)
        self._size += len(data)

    def close(self) -> None:
        """Close the piece."""
        self._file.close()


def read(
    folder: Path, after: int, *, whole: bool, most: int = 256 * 1024
) -> tuple[Sequence[str], int, bool]:
    """Return lines from a place on, the place to go on from, and whether older ones are gone.

    A line that is not finished yet is kept back, unless `whole` says that no more will come.
    """
    starts = _starts(folder)
    if not starts:
        return (), after, False
    place = max(after, starts[0])
    data = bytearray()
    for start in starts:
        size = _size(folder, start)
        if start + size <= place:
            continue
        with _path(folder, start).open("rb") as file:
            file.seek(max(0, place + len(data) - start))
            data += file.read(most - len(data))
        if len(data) >= most:
            break
    end = len(data)
    if not (whole and end < most):
        last = data.rfind(b"\n") + 1
        end = last or (len(data) if len(data) >= _LONGEST else 0)
    text = bytes(data[:end]).decode("utf-8", "replace")
    lines = tuple(_line(line) for line in text.split("\n"))
    return (lines[:-1] if text.endswith("\n") or not text else lines), place + end, place > after


def tail(folder: Path, lines: int) -> tuple[Sequence[str], int]:
    """Return the last lines and the place after them."""
    starts = _starts(folder)
    if not starts:
        return (), 0
    end = starts[-1] + _size(folder, starts[-1])
    found, place, _ = read(folder, max(0, end - 256 * 1024), whole=True)
    return found[-lines:] if lines else (), place


def _line(text: str) -> str:
    """Keep what a progress bar overwrote out, and no line longer than a screenful."""
    return text.rstrip("\r").rpartition("\r")[2][:_LONGEST]


def _starts(folder: Path) -> list[int]:
    return sorted(int(file.name.partition(".")[2]) for file in folder.glob("log.[0-9]*"))


def _path(folder: Path, start: int) -> Path:
    return folder / f"log.{start:016d}"


def _size(folder: Path, start: int) -> int:
    try:
        return _path(folder, start).stat().st_size
    except FileNotFoundError:
        return 0
