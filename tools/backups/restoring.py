"""Puts a backup back, while Jarvis is stopped: all of it, or nothing is changed.

Everything is unpacked, loaded and looked at in a hidden folder of the data folder first. What was
there is moved aside, never deleted.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from pydantic import BaseModel

from nebula.db.dump import load
from nebula.db.embedded import EmbeddedPostgres
from nebula.db.engine import Database, plain_url
from nebula.db.errors import translated
from nebula.db.migrate import migrate, script
from nebula.db.open import Addresses
from nebula.errors import Conflict
from nebula.secrets.keys import KeyFile, place_of
from nebula.settings import Settings
from tools.backups.archive import (
    ANCHORS,
    DATABASE,
    FILES,
    KEY,
    SETTINGS,
    Manifest,
    check,
    fingerprint_of,
    opened,
)
from tools.backups.contents import ASIDE, STAGING, place_of_settings
from tools.backups.restored import Found, look_at, take_over
from tools.backups.settings import BACKUPS

_PIECE = 1 << 20
_IN_USE = (
    "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema'"
    " AND n.nspname NOT LIKE 'pg\\_%'"
)


@dataclass(frozen=True)
class Plan:
    """A backup that was checked, and what restoring it here would do."""

    path: Path
    manifest: Manifest
    keys: Sequence[bytes]
    there: Sequence[str]
    """What lies in the data folder now, and would be moved aside."""
    beside: Sequence[str]
    """The operator's files that differ here: they stay, and those of the backup come beside."""


class Restored(BaseModel):
    """What restoring did."""

    backup: str
    made_at: datetime
    folder: str
    aside: str
    """Where what was there lies now; empty when there was nothing."""
    beside: list[str]
    secrets: int
    audit_lines: int
    problems: list[str]


async def plan(settings: Settings, path: Path, key_file: Path | None = None) -> Plan:
    """Check a backup from end to end, and this place; nothing is changed.

    Raises:
        InvalidInput: when the backup is none, or was cut off, damaged or edited.
        Conflict: when it cannot be restored here, or its key is missing.
    """
    keys = await asyncio.to_thread(_known_keys, settings, key_file)
    manifest = await asyncio.to_thread(check, path, keys)
    if not set(manifest.heads) <= await asyncio.to_thread(_known_revisions):
        raise Conflict(
            f"{path.name} was made by a newer version ({manifest.version})",
            hint="Update Jarvis ('git pull'), then restore.",
        )
    if manifest.key_included:
        keys = await asyncio.to_thread(_key_in, path)
    if not any(fingerprint_of(key) == manifest.key for key in keys):
        raise Conflict(
            "The backup does not hold the key that opens its secrets, and it is not here",
            hint="Say where it is: --key FILE (a copy of secrets.key).",
        )
    await _refuse_in_use(settings)
    there, beside = await asyncio.to_thread(_compared, settings, path, manifest)
    return Plan(path, manifest, keys, there, beside)


async def restore(settings: Settings, planned: Plan) -> Restored:
    """Put a checked backup back; call it only with the operator's word when `there` is not empty.

    Raises:
        Conflict, UpstreamUnavailable: when it did not go through; nothing was changed then.
    """
    home = settings.home.resolve()
    stamp = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    staging = home / f"{STAGING}{stamp}"
    try:
        await asyncio.to_thread(_unpack, planned, staging)
        async with _database(settings, staging) as addresses:
            await load(addresses.owner, _pieces(planned.path))
            await migrate(addresses.owner, app=addresses.app)
            found = await _judged(settings, staging, planned, addresses)
        aside = await asyncio.to_thread(_swap, settings, planned, staging, stamp)
    finally:
        await asyncio.to_thread(shutil.rmtree, staging, True)
    return Restored(
        backup=planned.path.name,
        made_at=planned.manifest.made_at,
        folder=str(home),
        aside=aside,
        beside=await asyncio.to_thread(_place_settings, settings, planned),
        secrets=found.secrets,
        audit_lines=found.audit_lines,
        problems=found.problems,
    )


async def _judged(settings: Settings, staging: Path, planned: Plan, addresses: Addresses) -> Found:
    """Look whether all is well in the restored database, and write into it what happened."""
    elsewhere = settings.audit_anchor_file
    there = elsewhere if elsewhere and elsewhere.exists() else staging / ANCHORS
    async with Database(addresses.app, application_name="nebula-restore") as database:
        found = await look_at(database, settings, staging, there)
        await take_over(database, planned.path.name, planned.manifest.made_at)
    return found


@asynccontextmanager
async def _database(settings: Settings, staging: Path) -> AsyncIterator[Addresses]:
    """Give the empty database to load into."""
    if settings.database_url:
        owner = settings.database_owner_url or settings.database_url
        yield Addresses(app=settings.database_url, owner=owner)
        return
    server = EmbeddedPostgres(staging)
    try:
        await asyncio.to_thread(server.start)
        yield Addresses(app=server.app_url, owner=server.url)
    finally:
        await asyncio.to_thread(server.stop)


async def _refuse_in_use(settings: Settings) -> None:
    """Refuse where somebody works with what would be replaced."""
    if not settings.database_url:
        if await asyncio.to_thread(EmbeddedPostgres(settings.home).running):
            raise Conflict(
                f"The database in {settings.home} is running",
                hint="Stop Jarvis and its workers, then restore.",
            )
        return
    url = plain_url(settings.database_owner_url or settings.database_url)
    try:
        async with await psycopg.AsyncConnection.connect(url, connect_timeout=10) as connection:
            row = await (await connection.execute(_IN_USE.encode())).fetchone()
    except psycopg.Error as error:
        seen = translated(error)
        if seen is None:
            raise
        raise seen from error
    if row and row[0]:
        raise Conflict(
            f"The database that DATABASE_URL names is not empty: it has {row[0]} tables",
            hint="Make an empty one (CREATE DATABASE … OWNER …), and let DATABASE_URL name it.",
        )


def _known_revisions() -> set[str]:
    return {revision.revision for revision in script().walk_revisions()}


def _known_keys(settings: Settings, key_file: Path | None) -> list[bytes]:
    given = key_file.read_bytes().split() if key_file else []
    return [*given, *place_of(settings.home, settings.secrets_key).read()]


def _key_in(path: Path) -> list[bytes]:
    with opened(path, KEY) as file:
        return file.read().split()


def _compared(settings: Settings, path: Path, manifest: Manifest) -> tuple[list[str], list[str]]:
    home = settings.home
    names = sorted(each.name for each in home.iterdir()) if home.exists() else []
    # The backups stay where they are: one of them is being restored.
    there = [each for each in names if each != BACKUPS and not each.startswith((ASIDE, STAGING))]
    beside = []
    for entry in manifest.entries:
        if entry.name.startswith(SETTINGS):
            place = place_of_settings(settings, entry.name.removeprefix(SETTINGS))
            if place.exists() and place.read_bytes() != _content(path, entry.name):
                beside.append(str(place))
    return there, beside


def _content(path: Path, name: str) -> bytes:
    with opened(path, name) as file:
        return file.read()


def _unpack(planned: Plan, staging: Path) -> None:
    staging.parent.mkdir(parents=True, exist_ok=True)
    staging.mkdir(mode=0o711)  # the database's own account has to pass through
    for entry in planned.manifest.entries:
        if not (entry.name.startswith(FILES) or entry.name == ANCHORS):
            continue
        target = staging / entry.name.removeprefix(FILES)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, entry.mode & 0o700 | 0o600)
        with os.fdopen(handle, "wb") as file, opened(planned.path, entry.name) as packed:
            shutil.copyfileobj(packed, file, _PIECE)
    KeyFile(staging).write(planned.keys)


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with opened(path, DATABASE) as file:
        while piece := await asyncio.to_thread(file.read, _PIECE):
            yield piece


def _swap(settings: Settings, planned: Plan, staging: Path, stamp: str) -> str:
    """Move what was there aside, and the new in its place."""
    home = staging.parent
    aside = home / f"{ASIDE}{stamp}"
    if planned.there:
        aside.mkdir(mode=0o700)
    if settings.secrets_key == "keyring":
        place_of(settings.home, "keyring").write(planned.keys)
        KeyFile(staging).remove()
    _place_anchors(settings, staging)
    for name in planned.there:
        (home / name).rename(aside / name)
    for each in sorted(staging.iterdir()):
        each.rename(home / each.name)
    return str(aside) if planned.there else ""


def _place_anchors(settings: Settings, staging: Path) -> None:
    """Put the anchors where the settings want them; a file that is there keeps its account."""
    elsewhere = settings.audit_anchor_file
    if elsewhere and not elsewhere.exists():
        elsewhere.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(staging / ANCHORS, elsewhere)
    if elsewhere:
        (staging / ANCHORS).unlink()


def _place_settings(settings: Settings, planned: Plan) -> list[str]:
    """Put the operator's files back where there are none; others come beside what is there."""
    beside = []
    for entry in planned.manifest.entries:
        if not entry.name.startswith(SETTINGS):
            continue
        place = place_of_settings(settings, entry.name.removeprefix(SETTINGS))
        if str(place) in planned.beside:
            place = place.with_name(f"{place.name}.restored")
            beside.append(str(place))
        elif place.exists():
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(_content(planned.path, entry.name))
    return beside
