"""What `jarvis restore` and `jarvis backup verify` do; no App is opened, for there may be none."""

import sys
from pathlib import Path

from nebula.errors import Conflict
from tools.backups.archive import FILES, Manifest, check
from tools.backups.restoring import Plan, Restored, plan
from tools.backups.restoring import restore as put_back
from ui.cli.beacon import running
from ui.cli.operator import read_settings
from ui.cli.records import write_json
from ui.cli.show import console


def verify(path: Path, key_file: Path | None, *, as_json: bool) -> None:
    """Read a backup from end to end and say what it holds."""
    manifest = check(path, key_file.read_bytes().split() if key_file else [])
    if as_json:
        write_json(manifest)
    else:
        console().print(f"{path.name} is whole. {_described(manifest)}")


async def restore(
    path: Path, key_file: Path | None, *, only_check: bool, yes: bool, as_json: bool
) -> bool:
    """Check a backup, ask where something is there already, and put it back.

    Return whether nothing is wrong with what was restored.

    Raises:
        Conflict: when Jarvis runs, or nobody said that what is there may go aside.
    """
    settings = read_settings()
    if (server := running(settings.home)) is not None:
        raise Conflict(
            f"Jarvis runs at {server.url} (process {server.pid})",
            hint="Stop it and its workers, then restore.",
        )
    planned = await plan(settings, path, key_file)
    if not as_json:
        _show(planned, settings.home.absolute())
    if only_check:
        if as_json:
            write_json(planned.manifest)
        return True
    if planned.there and not (yes or _said_yes()):
        raise Conflict(
            f"{settings.home.absolute()} is not empty, so it was left as it is",
            hint="Say --yes to move what is there aside, or set JARVIS_HOME to a new folder.",
        )
    done = await put_back(settings, planned)
    if as_json:
        write_json(done)
    else:
        _tell(done)
    return not done.problems


def _described(manifest: Manifest) -> str:
    files = sum(entry.name.startswith(FILES) for entry in manifest.entries)
    key = "with" if manifest.key_included else "without"
    return (
        f"Made {manifest.made_at:%Y-%m-%d %H:%M} UTC by version {manifest.version}: the database "
        f"(PostgreSQL {manifest.postgres}, audit log up to line {manifest.audit_line}), "
        f"{files} files, {key} the key of stored secrets."
    )


def _show(planned: Plan, home: Path) -> None:
    told = console(error=True)
    told.print(f"{planned.path.name} is whole. {_described(planned.manifest)}")
    if planned.there:
        told.print(f"What is in {home} now is moved aside: {', '.join(planned.there)}.")
    for name in planned.beside:
        told.print(f"{name} differs and stays; the backup's comes beside it as {name}.restored.")


def _said_yes() -> bool:
    if not sys.stdin.isatty():
        return False
    console(error=True).print("Restore it? Type yes: ", end="")
    return sys.stdin.readline().strip().lower() == "yes"


def _tell(done: Restored) -> None:
    told = console()
    told.print(
        f"Restored {done.backup} into {done.folder}: {done.secrets} sealed values open, "
        f"{done.audit_lines} lines of the audit log verified."
    )
    for problem in done.problems:
        told.print(f"Wrong: {problem}", style="red")
    if done.aside:
        told.print(f"What was there lies in {done.aside}; delete it when all is well.")
    told.print(
        "Everything that has an effect is paused. Start Jarvis, look at jobs and schedules of "
        "that time, then: jarvis resume"
    )
