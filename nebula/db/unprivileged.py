"""Lets root run PostgreSQL, which refuses to: it runs as an unprivileged user instead."""

import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import structlog

from nebula.errors import UpstreamUnavailable

_NAME = "nebula"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Account:
    """A system account that owns the database's files."""

    name: str
    uid: int
    gid: int


def account_for(data: Path) -> Account | None:
    """Choose whose rights the server runs with; None means our own.

    A data folder that exists keeps its owner. Otherwise it is the account `nebula` if an
    operator made one, else `nobody`, else a new system account.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat().st_uid) != 0:
        entry = pwd.getpwuid(owner)
    else:
        entry = _existing(_NAME) or _existing("nobody") or _created(_NAME)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _existing(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _created(name: str) -> pwd.struct_passwd:
    useradd = shutil.which("useradd")
    if useradd is not None:
        command = [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name]
        subprocess.run(command, check=False, capture_output=True, timeout=30)
    entry = _existing(name)
    if entry is None:
        raise UpstreamUnavailable(
            "PostgreSQL cannot run as root and there is no account to run it as",
            hint=f"Make one with 'useradd --system {name}', or set DATABASE_URL.",
        )
    return entry


def let_through(path: Path) -> None:
    """Give others the right to pass through (not to list) the folders above a path."""
    for folder in path.resolve().parents:
        mode = stat.S_IMODE(folder.stat().st_mode)
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)
            _log.warning(
                "folder_opened_for_passing", folder=str(folder), why="database runs unprivileged"
            )
