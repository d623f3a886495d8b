"""What the commands of `jarvis audit` do."""

import sys
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from nebula.errors import Conflict
from ui.cli.operator import people, read_settings, run
from ui.cli.records import write_json
from ui.cli.show import console, show_blocks

if TYPE_CHECKING:
    from nebula.tool.audit.log import Wanted
    from nebula.tool.audit.verify import AuditReport


def wish(  # noqa: PLR0917 - one for one what the commands take
    person: str | None,
    tool: str | None,
    session: str | None,
    outcome: str | None,
    since: datetime | None,
    until: datetime | None,
    text: str | None,
    before: int | None,
) -> "Wanted":
    """Return what the options ask for; moments are of this machine's time zone."""
    from nebula.tool.audit.log import Wanted

    return Wanted(
        principal=person,
        tool=tool,
        session_id=session,
        outcome=outcome,
        since=since and since.astimezone(),
        until=until and until.astimezone(),
        text=text,
        before=before,
    )


async def search(wanted: "Wanted", limit: int, *, as_json: bool) -> None:
    """Show lines of the log."""
    from nebula.tool.audit.log import Audit
    from tools.audit.schemas import AuditFound

    async with people() as (_, database):
        lines = await Audit(database).search(wanted, limit=limit)
    if as_json:
        write_json(lines)
        return
    following = lines[-1].seq if len(lines) == limit else None
    show_blocks(AuditFound(lines=lines, next=following).render(), console())


async def export(file: Path | None, wanted: "Wanted", *, table: bool) -> None:
    """Write the log to a new file, or to the output.

    Raises:
        Conflict: when the file exists already.
    """
    from nebula.tool.audit.export import as_csv, as_jsonl

    async with people() as (_, database):
        written = (as_csv if table else as_jsonl)(database, wanted)
        if file is None:
            await _pour(written, sys.stdout.buffer.write)
            return
        try:
            with file.open("xb") as opened:
                await _pour(written, opened.write)
        except FileExistsError as error:
            raise Conflict(f"{file} exists already", hint="Name a new file.") from error


async def _pour(written: AsyncIterator[bytes], write: Callable[[bytes], object]) -> None:
    async for part in written:
        write(part)


def verify(file: Path | None, anchors: Path | None, *, as_json: bool) -> bool:
    """Check the log, or a file of it, and say whether it is intact."""
    from nebula.tool.audit.export import verify_file

    settings = read_settings()
    key = settings.audit_anchor_key.get_secret_value()
    if file is not None:
        report = verify_file(file, anchors, key)
    else:
        report = run(lambda: _verified(anchors or settings.anchors, key))
    if as_json:
        write_json(report)
        return report.intact
    state = "intact" if report.intact else "BROKEN"
    console().print(f"{report.lines} lines, {report.anchors} anchors: {state}.")
    for problem in report.problems:
        console().print(f"  ✗ {problem}", markup=False)
    for note in report.notes:
        console().print(f"  – {note}", markup=False)
    return report.intact


async def _verified(anchors: Path, key: str) -> "AuditReport":
    from nebula.tool.audit.verify import verify as verified

    async with people() as (_, database):
        return await verified(database, anchors, key)


def show_role(name: str) -> None:
    """Print the statements that an owner of the database runs once."""
    from nebula.db.roles import statements

    out = console()
    out.print(
        "-- Run as the database's owner or a superuser, with a password of your own:", markup=False
    )
    quoted = name.replace('"', '""')
    out.print(f"CREATE ROLE \"{quoted}\" LOGIN PASSWORD 'change me';", markup=False)
    for statement in statements(name):
        out.print(f"{statement.as_string(None)};", markup=False)
    out.print(
        "-- Then let DATABASE_URL sign in as that role, and DATABASE_OWNER_URL as the owner.\n"
        "-- Or leave the owner out, and run `jarvis migrate` as the owner after every update.",
        markup=False,
    )
