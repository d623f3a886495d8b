"""Anchors: what the log's last line was at a moment, kept in a file outside the database.

Whoever may do anything with the database can rewrite the whole chain, but not what was written
down elsewhere. The file is a chain of its own and, with a key, signed. The log in turn has a line
about every anchor, so that neither can be cut short without the other showing it.
"""

import hashlib
import hmac
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError

_NOTHING = "0" * 64
_TAIL = 64 * 1024


class Anchor(BaseModel):
    """One line of the file: the log's line `seq` had this hash at that moment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = Field(description="The file's own id, made with its first line")
    number: int = Field(ge=1)
    seq: int = Field(ge=0)
    hash: str
    at: str
    prev: str = Field(description="SHA-256 of the line before, as it stands in the file")
    mac: str = Field("", description="HMAC-SHA-256 of all of this, when there is a key")

    def line(self) -> bytes:
        """Return it as it stands in the file."""
        return json.dumps(self.model_dump(), sort_keys=True).encode()

    @property
    def sha256(self) -> str:
        """Hash its line."""
        return hashlib.sha256(self.line()).hexdigest()

    def signed(self, key: str) -> "Anchor":
        """Return it with its signature; without a key, with none."""
        bare = self.model_copy(update={"mac": ""})
        mac = hmac.new(key.encode(), bare.line(), hashlib.sha256).hexdigest() if key else ""
        return bare.model_copy(update={"mac": mac})


@dataclass(frozen=True)
class Anchors:
    """What a file holds, and what is wrong with it."""

    known: Sequence[Anchor] = ()
    problems: Sequence[str] = ()
    notes: Sequence[str] = field(default=())


def read(path: Path, key: str = "") -> Anchors:
    """Read a file of anchors and check it; one that is not there holds none."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return Anchors()
    known: list[Anchor] = []
    problems: list[str] = []
    notes: list[str] = []
    for at, line in enumerate(lines, start=1):
        anchor = _parsed(line)
        if anchor is None:  # a write that a crash cut off; what is taken out shows in the next one
            notes.append(f"line {at} of {path} cannot be read")
            continue
        problem = _unlike(anchor, known[-1] if known else None, key)
        if problem:
            problems.append(f"anchor {anchor.number} in {path} {problem}")
        known.append(anchor)
    if key and known and not known[-1].mac:
        problems.append(f"the newest anchor in {path} is not signed, though there is a key")
    return Anchors(known, problems, notes)


def last(path: Path) -> Anchor | None:
    """Return the newest anchor of a file, reading its end only."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return None
    return next((anchor for line in reversed(lines) if (anchor := _parsed(line))), None)


def append(path: Path, seq: int, digest: bytes, at: str, key: str = "") -> Anchor:
    """Write the next anchor behind the others, so that it survives a power cut."""
    before = last(path)
    made = Anchor(
        file=before.file if before else uuid4().hex,
        number=before.number + 1 if before else 1,
        seq=seq,
        hash=digest.hex(),
        at=at,
        prev=before.sha256 if before else _NOTHING,
    ).signed(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, _mend(handle) + made.line() + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)
    return made


def _mend(handle: int) -> bytes:
    """Return the line end that a write cut off by a crash lacks."""
    size = os.fstat(handle).st_size
    return b"\n" if size and os.pread(handle, 1, size - 1) != b"\n" else b""


def _parsed(line: bytes) -> Anchor | None:
    try:
        anchor = Anchor.model_validate_json(line)
    except ValidationError:
        return None
    return anchor if anchor.line() == line else None


def _unlike(anchor: Anchor, before: Anchor | None, key: str) -> str:
    """Say how an anchor does not go on from the one before; nothing when it does."""
    expected = before.sha256 if before else _NOTHING
    number = before.number + 1 if before else 1
    if (anchor.number, anchor.prev) != (number, expected):
        return "does not follow the one before: anchors were changed or taken out"
    if before and anchor.file != before.file:
        return "belongs to another file"
    signed = anchor.mac or (before and before.mac)
    if key and signed and not hmac.compare_digest(anchor.mac, anchor.signed(key).mac):
        return "is not signed with the key"
    return ""
