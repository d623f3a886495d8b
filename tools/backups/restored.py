"""Looks at a restored database, and writes into it what happened."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import text

from nebula.db.engine import Database
from nebula.events.bus import Events
from nebula.secrets.vault import Vault
from nebula.secrets.watch import sealed_columns
from nebula.settings import Settings
from nebula.tool.audit.log import Audit
from nebula.tool.audit.verify import verify
from nebula.tool.pause import Pause


@dataclass(frozen=True)
class Found:
    """What is in a restored database, and what is wrong with it."""

    secrets: int
    audit_lines: int
    problems: list[str]


async def look_at(database: Database, settings: Settings, folder: Path, anchors: Path) -> Found:
    """Open every sealed value with the key in a folder, and verify the audit log."""
    vault, sealed = Vault(folder), []
    async with database.bare() as bare:
        for table, column in await sealed_columns(bare):
            query = f'SELECT "{column}" FROM "{table}" WHERE "{column}" IS NOT NULL'  # noqa: S608
            sealed += [bytes(row[0]) async for row in await bare.execute(text(query))]
    shut = sum(value is None for value in await vault.open_each(sealed))
    report = await verify(database, anchors, settings.audit_anchor_key.get_secret_value())
    problems = [f"audit log: {problem}" for problem in report.problems]
    if shut:
        problems.append(f"{shut} of {len(sealed)} sealed values cannot be opened with the key")
    return Found(len(sealed) - shut, report.lines, problems)


async def take_over(database: Database, backup: str, made_at: datetime) -> None:
    """Note the restore in the audit log, and pause everything that has an effect.

    Jobs, schedules and approvals of that time would go on otherwise, though they may have been
    done since.
    """
    line = {
        "principal": "operator",
        "surface": "terminal",
        "tool": "backups_restore",
        "call_id": f"restore-{backup}",
        "session_id": None,
        "outcome": "ok",
        "detail": {"backup": backup, "made_at": made_at.isoformat()},
    }
    async with database.session() as session:
        await Audit(database).append(session, line)
    reason = f"restored from {backup}; look at jobs and schedules, then resume"
    await Pause(database, Events(database)).throw("operator", reason)
