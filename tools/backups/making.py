"""Makes a backup while Jarvis runs: one moment of the database, and the files beside it."""

import asyncio
import os
import re
import time
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO

import psycopg

from nebula.db.dump import dump
from nebula.db.embedded import EmbeddedPostgres
from nebula.db.engine import plain_url
from nebula.db.errors import translated
from nebula.errors import Conflict, UpstreamUnavailable
from nebula.secrets.vault import Vault
from nebula.settings import Settings
from nebula.tool.audit.anchoring import ALONE
from tools.backups.archive import (
    ANCHORS,
    DATABASE,
    FORMAT,
    KEY,
    Manifest,
    Sink,
    Writer,
    check,
    fingerprint_of,
)
from tools.backups.contents import Source, sources

Tell = Callable[[float, str], Awaitable[None]]

_NAME = re.compile(r"jarvis-(\d{8})-\d{6}(?:-\d+)?\.zip")
_PARTIAL = ".partial"
_STALE_SECONDS = 24 * 3600
_ONE_AT_A_TIME = "SELECT pg_try_advisory_lock(hashtext('nebula.backups'))"
_HEAD = "SELECT seq FROM audit_head"
_HEADS = "SELECT version_num FROM alembic_version ORDER BY 1"


@dataclass(frozen=True)
class Made:
    """A backup that was made and read again from end to end."""

    path: Path
    manifest: Manifest
    size: int


async def make(settings: Settings, folder: Path, *, with_key: bool, tell: Tell) -> Made:
    """Make a backup in a folder, and check it; nothing half made is left.

    Raises:
        Conflict: when another backup is being made.
        UpstreamUnavailable: when the database does not answer, or the disk is full.
    """
    keys = await asyncio.to_thread(Vault.of(settings).keys)
    try:
        draft = await asyncio.to_thread(_draft, folder)
        try:
            async with _moment(settings) as moment:
                await _write(settings, folder, draft, keys, moment, with_key=with_key, tell=tell)
            await tell(0.9, "Reading it again")
            manifest = await asyncio.to_thread(check, draft, keys)
            path = await asyncio.to_thread(_named, draft, manifest.made_at)
        finally:
            await asyncio.to_thread(draft.unlink, missing_ok=True)
        return Made(path, manifest, (await asyncio.to_thread(path.stat)).st_size)
    except OSError as error:
        raise UpstreamUnavailable(
            f"The backup cannot be written to {folder}: {error.strerror or error}",
            hint="Look whether the folder is there, may be written, and has room.",
        ) from error


def thinned(names: Sequence[str], keep: int) -> list[str]:
    """Return which backups made here may go: not the newest `keep`, nor one of the last days.

    Of each of the last `keep` days that have one, the newest stays: many in a row cannot push
    out those of days before.
    """
    ours = sorted((name for name in names if _NAME.fullmatch(name)), reverse=True)
    if keep == 0:
        return []
    days: dict[str, str] = {}
    for name in ours:
        days.setdefault(name[:15], name)
    stay = {*ours[:keep], *list(days.values())[:keep]}
    return [name for name in ours if name not in stay]


def thin(folder: Path, keep: int) -> list[str]:
    """Delete what `thinned` names; return what went. Blocks."""
    gone = thinned([path.name for path in folder.iterdir() if not path.is_symlink()], keep)
    for name in gone:
        (folder / name).unlink(missing_ok=True)
    return gone


@dataclass(frozen=True)
class _Moment:
    """One moment of the database, held still while it is dumped."""

    url: str
    snapshot: str
    postgres: str
    heads: list[str]
    audit_line: int
    anchors: bytes


@asynccontextmanager
async def _moment(settings: Settings) -> AsyncIterator[_Moment]:
    url = settings.database_owner_url or settings.database_url
    url = plain_url(url or EmbeddedPostgres(settings.home).url)
    try:
        async with await psycopg.AsyncConnection.connect(
            url, autocommit=True, connect_timeout=10
        ) as connection:
            if not await _value(connection, _ONE_AT_A_TIME):
                raise Conflict("Another backup is being made", hint="Wait for it: 'jarvis jobs'.")
            # No anchor between the moment and the copy of their file, or it would name a line, or
            # be named by one, that the other does not have.
            await connection.execute(f"SELECT pg_advisory_lock({ALONE})")
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            snapshot = await _value(connection, "SELECT pg_export_snapshot()")
            anchors = await asyncio.to_thread(_read_if_there, settings.anchors)
            await connection.execute(f"SELECT pg_advisory_unlock({ALONE})")
            heads = await (await connection.execute(_HEADS)).fetchall()
            yield _Moment(
                url=url,
                snapshot=snapshot,
                postgres=await _value(connection, "SHOW server_version"),
                heads=[row[0] for row in heads],
                audit_line=int(await _value(connection, _HEAD) or 0),
                anchors=anchors,
            )
    except psycopg.Error as error:
        seen = translated(error)
        if seen is None:
            raise
        raise seen from error


async def _value(connection: "psycopg.AsyncConnection[tuple[object, ...]]", query: str) -> str:
    row = await (await connection.execute(query.encode())).fetchone()
    return str(row[0]) if row and row[0] else ""


async def _write(
    settings: Settings,
    folder: Path,
    draft: Path,
    keys: Sequence[bytes],
    moment: _Moment,
    *,
    with_key: bool,
    tell: Tell,
) -> None:
    with zipfile.ZipFile(draft, "w", compresslevel=1, strict_timestamps=False) as packed:
        writer = Writer(packed)
        await tell(0.05, "Dumping the database")
        with writer.open(DATABASE, packed=False) as sink:
            async with aclosing(dump(moment.url, snapshot=moment.snapshot)) as pieces:
                async for piece in pieces:
                    await asyncio.to_thread(sink.write, piece)
        writer.add(ANCHORS, moment.anchors)
        if with_key:
            writer.add(KEY, b"\n".join(keys))
        found = await asyncio.to_thread(lambda: list(sources(settings, folder)))
        for at, source in enumerate(found):
            if at % 50 == 0:
                await tell(0.4 + 0.5 * at / len(found), f"Copying files ({at} of {len(found)})")
            await asyncio.to_thread(_copy, source, writer)
        manifest = Manifest(
            format=FORMAT,
            made_at=datetime.now(UTC),
            version=version("nebula-command"),
            postgres=moment.postgres,
            heads=moment.heads,
            key=fingerprint_of(keys[0]),
            key_included=with_key,
            audit_line=moment.audit_line,
            entries=writer.entries,
        )
        writer.seal(manifest, keys[0])


def _copy(source: Source, writer: Writer) -> None:
    try:
        handle = os.open(source.path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return  # removed meanwhile
    with os.fdopen(handle, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode & 0o700
        with writer.open(source.name, mode=mode) as sink:
            _pour(file, sink)


def _pour(file: IO[bytes], sink: Sink) -> None:
    while piece := file.read(1 << 20):
        sink.write(piece)


def _draft(folder: Path) -> Path:
    """Make an empty file that only we may read; clear away what a crash left long ago."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in folder.glob(f".jarvis-*{_PARTIAL}"):
        with suppress(FileNotFoundError):
            if left.stat().st_mtime < time.time() - _STALE_SECONDS:
                left.unlink()
    draft = folder / f".jarvis-{os.getpid()}-{time.time_ns()}{_PARTIAL}"
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return draft


def _named(draft: Path, at: datetime) -> Path:
    """Give a finished file its name, which no other file has, and bring it to the disk."""
    handle = os.open(draft, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    stem = f"jarvis-{at:%Y%m%d-%H%M%S}"
    for number in range(1000):
        path = draft.with_name(f"{stem}-{number}.zip" if number else f"{stem}.zip")
        if not path.exists():
            draft.rename(path)
            return path
    raise Conflict("There are too many backups of this second")


def _read_if_there(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
