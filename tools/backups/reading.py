"""Finds backups in a folder and reads one from end to end. Blocks; nothing is unpacked."""

import bz2
import gzip
import lzma
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

from nebula.errors import NebulaError
from tools.backups.archive import check, is_ours

_AT_ONCE = 1 << 20
_TAIL = 4_096
_DUMP_HEAD = b"PGDMP"
_DUMP_END = b"PostgreSQL database dump complete"
_KEY = "secrets.key"
_DATABASE = "postgres"


@dataclass(frozen=True)
class Found:
    """A file or folder that may be a backup; bytes."""

    path: Path
    made_at: datetime
    size: int


def found(folder: Path) -> list[Found]:
    """Return what lies in a folder, newest first; hidden entries and links are left out.

    Raises:
        OSError: when the folder cannot be read.
    """
    entries = [
        path for path in folder.iterdir() if not path.name.startswith(".") and not path.is_symlink()
    ]
    known = [_measured(path) for path in entries if path.is_file() or path.is_dir()]
    return sorted(known, key=lambda each: each.made_at, reverse=True)


def problem_of(path: Path) -> str:
    """Read a backup from end to end; return what is wrong with it, empty when nothing is."""
    try:
        if path.is_dir():
            return _folder(path)
        if path.stat().st_size == 0:
            return "it is empty"
        if is_ours(path):
            check(path)
            return ""
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                broken = packed.testzip()
            return f"{broken} in it is damaged" if broken else ""
        return "it is no whole zip file" if path.suffix == ".zip" else _stream(path)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError) as error:
        return f"it cannot be read: {type(error).__name__}"
    except NebulaError as error:
        return str(error)[0].lower() + str(error)[1:]
    except zipfile.BadZipFile:
        return "it is no whole zip file"


def _folder(path: Path) -> str:
    """Judge a copy of the data folder by what it has to hold."""
    held = {each.name for each in path.iterdir()}
    if not held:
        return "it is empty"
    missing = {_KEY, _DATABASE} - held
    return f"{' and '.join(sorted(missing))} is missing in it" if _KEY in missing else ""


def _stream(path: Path) -> str:
    packed = path.suffix in {".gz", ".bz2", ".xz", ".tgz"}
    with _opened(path) as stream:
        head, tail = stream.read(_AT_ONCE), b""
        start = head
        while head:
            tail = (tail + head)[-_TAIL:]
            head = stream.read(_AT_ONCE)
    inner = path.stem if packed else path.name
    if inner.endswith(".tar") or path.suffix == ".tgz":
        return _archive(path)
    if inner.endswith(".sql") and _DUMP_END not in tail:
        return "the dump ends too early"
    if inner.endswith(".dump") and not start.startswith(_DUMP_HEAD):
        return "it is no dump of pg_dump"
    return ""


def _opened(path: Path) -> IO[bytes]:
    match path.suffix:
        case ".gz" | ".tgz":
            return cast("IO[bytes]", gzip.open(path))
        case ".bz2":
            return bz2.open(path)
        case ".xz":
            return lzma.open(path)
        case _:
            return path.open("rb")


def _archive(path: Path) -> str:
    with tarfile.open(path) as packed:
        return "" if any(True for _ in packed) else "it is empty"


def _measured(path: Path) -> Found:
    if path.is_file():
        status = path.stat()
        return Found(path, datetime.fromtimestamp(status.st_mtime, UTC), status.st_size)
    size, newest = 0, path.stat().st_mtime
    for each in path.rglob("*"):
        if each.is_file() and not each.is_symlink():
            size += each.stat().st_size
    return Found(path, datetime.fromtimestamp(newest, UTC), size)
