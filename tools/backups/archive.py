"""A backup as a file: a zip whose last entries say what has to be in it. Blocks.

`manifest.json` names every other entry with its size and SHA-256, and `manifest.mac` signs that
with the key of the installation. A file that was cut off has neither; one that was edited does not
fit them.
"""

import hashlib
import hmac
import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import IO, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from nebula.errors import Conflict, InvalidInput

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
_MAC: Final = "manifest.mac"
DATABASE: Final = "database.dump"
KEY: Final = "secrets.key"
ANCHORS: Final = "audit-anchors.jsonl"
FILES: Final = "home/"
SETTINGS: Final = "settings/"
_PIECE: Final = 1 << 20
_MAX_MANIFEST: Final = 64 * 1024**2
_HINT: Final = "Take an older backup: 'jarvis backup list' shows them."


class Entry(BaseModel):
    """One file in a backup."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    size: int
    sha256: str
    mode: int = 0o600


class Manifest(BaseModel):
    """What a backup holds, and what it was taken from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    made_at: datetime
    version: str
    """Of the program."""
    postgres: str
    heads: list[str]
    """The newest migrations that its database had."""
    key: str
    """The fingerprint of the key that opens its secrets."""
    key_included: bool
    audit_line: int
    entries: list[Entry]

    @property
    def size(self) -> int:
        """Return how many bytes its files have, unpacked."""
        return sum(entry.size for entry in self.entries)

    def entry(self, name: str) -> Entry | None:
        """Return an entry by its name."""
        return next((entry for entry in self.entries if entry.name == name), None)


class Writer:
    """Puts entries into a new backup."""

    def __init__(self, packed: zipfile.ZipFile) -> None:
        """Take the open zip."""
        self._packed = packed
        self.entries: list[Entry] = []

    @contextmanager
    def open(self, name: str, *, mode: int = 0o600, packed: bool = True) -> Iterator["Sink"]:
        """Open the next entry; one at a time."""
        info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        info.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
        info.external_attr = (0o100000 | mode) << 16
        with self._packed.open(info, "w", force_zip64=True) as file:
            sink = Sink(file)
            yield sink
        self.entries.append(sink.entry(name, mode))

    def add(self, name: str, content: bytes) -> None:
        """Put a small entry in."""
        with self.open(name) as sink:
            sink.write(content)

    def seal(self, manifest: Manifest, key: bytes) -> None:
        """Write what has to be in it, last."""
        text = manifest.model_dump_json(indent=1).encode()
        self._packed.writestr(MANIFEST, text)
        self._packed.writestr(_MAC, _mac(text, key))


class Sink:
    """Counts and hashes what is written through it."""

    def __init__(self, file: IO[bytes]) -> None:
        """Take the open entry."""
        self._file = file
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, piece: bytes) -> None:
        """Write the next piece."""
        self._file.write(piece)
        self._hash.update(piece)
        self._size += len(piece)

    def entry(self, name: str, mode: int) -> Entry:
        """Say what was written."""
        return Entry(name=name, size=self._size, sha256=self._hash.hexdigest(), mode=mode)


def fingerprint_of(key: bytes) -> str:
    """Return what tells a key without telling anything about it."""
    return hmac.digest(key, b"nebula backup key", hashlib.sha256).hex()


def is_ours(path: Path) -> bool:
    """Say whether a file looks like a backup that was made here."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as packed:
        return MANIFEST in packed.namelist()


def check(path: Path, keys: Sequence[bytes] = ()) -> Manifest:
    """Read a backup from end to end and return what it holds.

    `keys` are those of this installation; the key in the backup serves where none of them fits.

    Raises:
        InvalidInput: when it is no backup, was cut off, damaged or edited, or is too new.
    """
    try:
        with zipfile.ZipFile(path) as packed:
            manifest = _manifest(packed, path, keys)
            for entry in manifest.entries:
                _check_entry(packed, entry)
            return manifest
    except FileNotFoundError as error:
        raise InvalidInput(f"There is no file {path}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise _broken(
            f"{path.name} cannot be read to its end: it was cut off or damaged"
        ) from error


@contextmanager
def opened(path: Path, name: str) -> Iterator[IO[bytes]]:
    """Open one entry of a checked backup."""
    with zipfile.ZipFile(path) as packed, packed.open(name) as file:
        yield file


def _manifest(packed: zipfile.ZipFile, path: Path, keys: Sequence[bytes]) -> Manifest:
    names = packed.namelist()
    if MANIFEST not in names or _MAC not in names:
        raise _broken(f"{path.name} is no backup of Jarvis: it has no manifest")
    if packed.getinfo(MANIFEST).file_size > _MAX_MANIFEST:
        raise _broken(f"{path.name} has a manifest that is too large")
    text = packed.read(MANIFEST)
    try:
        if (told := json.loads(text).get("format")) != FORMAT:
            raise Conflict(
                f"{path.name} has the format {told}, and this version knows {FORMAT}",
                hint="Update Jarvis, then restore.",
            )
        manifest = Manifest.model_validate_json(text)
    except (ValueError, AttributeError, ValidationError) as error:
        raise _broken(f"the manifest of {path.name} cannot be read") from error
    held = [entry.name for entry in manifest.entries]
    if sorted(names) != sorted([*held, MANIFEST, _MAC]):
        raise _broken(f"{path.name} does not hold the files that its manifest names")
    for name in held:
        _check_name(name)
    _check_mac(packed, manifest, text, keys)
    return manifest


def _check_name(name: str) -> None:
    """Refuse a path that could lead out of the folder it is unpacked into."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or "\\" in name or "\0" in name or ".." in parts:
        raise _broken(f"a file in the backup has the forbidden name {name!r}")


def _check_mac(
    packed: zipfile.ZipFile, manifest: Manifest, text: bytes, keys: Sequence[bytes]
) -> None:
    inside = packed.read(KEY).split() if manifest.key_included else []
    # A key of ours comes first: whoever edits a backup could sign with the one in it.
    fitting = [key for key in (*keys, *inside) if fingerprint_of(key) == manifest.key]
    if not fitting and inside:
        raise _broken("the key in the backup is not the one it was sealed with")
    if fitting and not hmac.compare_digest(packed.read(_MAC), _mac(text, fitting[0])):
        raise _broken("the manifest of the backup was edited: its signature does not fit")


def _check_entry(packed: zipfile.ZipFile, entry: Entry) -> None:
    read, size = hashlib.sha256(), 0
    with packed.open(entry.name) as file:
        while piece := file.read(_PIECE):
            read.update(piece)
            size += len(piece)
            if size > entry.size:
                break
    if (size, read.hexdigest()) != (entry.size, entry.sha256):
        raise _broken(f"{entry.name} in the backup is not what was backed up")


def _mac(text: bytes, key: bytes) -> bytes:
    own = hmac.digest(key, b"nebula backup manifest", hashlib.sha256)
    return hmac.new(own, text, hashlib.sha256).hexdigest().encode()


def _broken(said: str) -> InvalidInput:
    return InvalidInput(said[0].upper() + said[1:], hint=_HINT)
