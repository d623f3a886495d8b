"""Make backups, and see which there are."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field

from nebula.tool.context import Context
from nebula.tool.definition import Effect, EffectKind, tool
from tools.backups.archive import FILES
from tools.backups.making import make, thin
from tools.backups.reading import Found, found, problem_of
from tools.backups.schemas import Backup, BackupList, BackupMade
from tools.backups.settings import BackupsSettings

_MIB = 1024**2


@tool(
    effect=Effect.WRITE,
    # Made again after a crash it is one more backup, and the half one is gone.
    kind=EffectKind.IDEMPOTENT,
    background=True,
    timeout=6 * 3600.0,
    rest="POST /backups",
    says=[
        "(make|create|take|start) [a|another] [new|fresh|full] backup [now]",
        "back [(everything|it all|jarvis|my data)] up [now]",
        "back up [(everything|it all|jarvis|my data)] [now]",
    ],
    examples=[
        "save everything to the backup folder",
        "I want a backup before the update",
        "back my data up tonight",
    ],
)
async def backups_create(ctx: Context) -> BackupMade:
    """Make a backup of the database, files and settings in the backup folder, and read it again.

    It is taken of one moment while everything runs. Older ones go as JARVIS_BACKUPS_KEEP says.
    """
    settings, home = ctx.settings(BackupsSettings), ctx.parts.settings.home
    folder = settings.place(home)
    made = await make(ctx.parts.settings, folder, with_key=settings.with_key, tell=ctx.progress)
    removed = await asyncio.to_thread(thin, folder, settings.keep)
    return BackupMade(
        name=made.path.name,
        folder=str(folder),
        same_disk=await asyncio.to_thread(_on_one_disk, folder, home),
        made_at=made.manifest.made_at,
        size_mb=round(made.size / _MIB, 2),
        files=sum(entry.name.startswith(FILES) for entry in made.manifest.entries),
        with_key=made.manifest.key_included,
        removed=removed,
    )


@tool(
    effect=Effect.READ,
    outside=True,
    permission="backups:read",
    timeout=300.0,
    rest="GET /backups",
    says=[
        "(list|show|check) [me] [the|all|my] backups",
        "(is|are) there [any] backups",
        "when was the last backup [made]",
    ],
    examples=[
        "is my data backed up",
        "how old is the newest backup",
        "can the last backup be read",
    ],
)
async def backups_list(
    ctx: Context,
    limit: Annotated[int, Field(ge=1, le=100, description="At most so many, newest first")] = 10,
    verify: Annotated[bool, Field(description="Read the newest one from end to end")] = True,
) -> BackupList:
    """List the backups in the backup folder: age, size, and whether the newest can be read."""
    settings = ctx.settings(BackupsSettings)
    folder = settings.place(ctx.parts.settings.home)
    if settings.folder is None and not folder.exists():
        said = "There is no backup yet: say “make a backup”."
        return BackupList(folder=str(folder), backups=[], problem=said)
    return await asyncio.to_thread(_looked, folder, settings.stale_hours, limit, verify)


def _on_one_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


def _looked(folder: Path, stale_hours: float, limit: int, verify: bool) -> BackupList:
    try:
        known = found(folder)
    except OSError as error:
        said = f"The backup folder cannot be read: {type(error).__name__}."
        return BackupList(folder=str(folder), backups=[], problem=said)
    now = datetime.now(UTC)
    backups = [_shown(each, now, look=verify and at == 0) for at, each in enumerate(known[:limit])]
    return BackupList(folder=str(folder), backups=backups, problem=_problem(backups, stale_hours))


def _shown(each: Found, now: datetime, *, look: bool) -> Backup:
    problem = problem_of(each.path) if look else ""
    return Backup(
        name=each.path.name,
        made_at=each.made_at,
        age_hours=round((now - each.made_at).total_seconds() / 3600, 2),
        size_mb=round(each.size / _MIB, 2),
        whole=not problem if look else None,
        problem=problem,
    )


def _problem(backups: Sequence[Backup], stale_hours: float) -> str:
    if not backups:
        return "There is no backup in the backup folder."
    newest = backups[0]
    if newest.whole is False:
        return f"The newest backup, {newest.name}, is broken: {newest.problem}."
    if newest.age_hours > stale_hours:
        return f"The newest backup, {newest.name}, is {newest.age_hours:.0f} hours old."
    return ""
