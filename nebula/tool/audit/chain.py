"""The chain of the audit log's lines, checked one line at a time: pure, and in constant memory."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

FIRST = b"\x00"
"""What the first line follows."""
COLUMNS = ("tool", "principal", "session_id", "outcome", "at")
"""What a row repeats of its payload, to be searched by."""
_MOST_PROBLEMS = 100


@dataclass(frozen=True)
class Line:
    """One line as it is stored; `columns` is what the row repeats of it, where it does."""

    seq: int
    payload: str
    prev_hash: bytes
    hash: bytes
    columns: Mapping[str, str | None] | None = None

    def told(self) -> dict[str, Any]:
        """Return what the line says; nothing when it is no JSON object."""
        try:
            told = json.loads(self.payload)
        except ValueError:
            return {}
        return told if isinstance(told, dict) else {}


def digest_of(previous: bytes, seq: int, payload: str) -> bytes:
    """Return the hash that a line must carry: SHA-256 of the hash before, its number and text."""
    return hashlib.sha256(previous + f"{seq}:{payload}".encode("utf-8", "surrogatepass")).digest()


@dataclass
class Chain:
    """Takes lines in order and says what is wrong, each fault once and with its line."""

    last: int = 0
    hash: bytes = FIRST
    selection: bool = False
    """Lines were left out on purpose: each is checked by itself, and for its order."""
    lines: int = 0
    problems: list[str] = field(default_factory=list)

    def take(self, line: Line) -> dict[str, Any]:
        """Check the next line, and return what it says."""
        told = line.told()
        for problem in self._problems(line, told):
            self.complain(problem)
        self.lines += 1
        self.last, self.hash = line.seq, line.hash
        return told

    def complain(self, problem: str) -> None:
        """Add a problem; after the first hundred nobody learns more."""
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(problem)

    def _problems(self, line: Line, told: dict[str, Any]) -> Iterator[str]:
        yield from self._place(line)
        if digest_of(line.prev_hash, line.seq, line.payload) != line.hash:
            yield f"line {line.seq} was changed"
        elif not told:
            yield f"line {line.seq} is no line of this log"
        for name, value in (line.columns or {}).items():
            if value != told.get(name):
                yield f"line {line.seq} says {told.get(name)!r} as {name}, and its row {value!r}"

    def _place(self, line: Line) -> Iterator[str]:
        if line.seq <= self.last:
            yield f"line {line.seq} is there more than once, or out of place"
        elif self.selection:
            return
        elif line.seq > self.last + 1:
            yield f"{span(self.last + 1, line.seq - 1)} missing"
        elif line.prev_hash != self.hash:
            yield f"line {line.seq} does not follow line {self.last}: one of them was replaced"


def span(first: int, last: int) -> str:
    """Write a range of lines with its verb."""
    return f"line {first} is" if first == last else f"lines {first} to {last} are"
