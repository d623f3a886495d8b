"""Which files of this machine a backup holds. Blocks."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nebula.settings import Settings
from tools.backups.archive import ANCHORS, FILES, KEY, SETTINGS
from tools.backups.settings import BACKUPS

ASIDE = "before-restore-"
"""Begins the name of the folder that a restore moves what was there into."""
STAGING = ".restoring-"
_LEFT_OUT = frozenset({"postgres", "web", "server.json", KEY, ANCHORS, BACKUPS})
"""The database is dumped; the page's files and the server's address are written at each start."""


@dataclass(frozen=True)
class Source:
    """A file, and its name in the backup."""

    path: Path
    name: str


def sources(settings: Settings, backups: Path) -> Iterator[Source]:
    """Yield the files of the data folder, and the operator's files beside it.

    Left out are links, what is no plain file, hidden files at the top of the data folder, and the
    folders that backups lie in.
    """
    home = settings.home.resolve()
    apart = (backups.resolve(), settings.anchors.resolve())
    for path in _plain_files(home):
        top = path.relative_to(home).parts[0]
        if top in _LEFT_OUT or top.startswith((".", ASIDE)):
            continue
        if not any(path == each or path.is_relative_to(each) for each in apart):
            yield Source(path, FILES + path.relative_to(home).as_posix())
    for name, path in operator_files(settings).items():
        if path.is_file():
            yield Source(path, SETTINGS + name)


def operator_files(settings: Settings) -> dict[str, Path]:
    """Return the files that an operator writes, by their names in the backup."""
    found = {
        ".env": Path(".env"),
        "service-map.yml": settings.service_map,
        "policy.yml": settings.policy,
    }
    more = fragments_of(settings)
    return found | {
        f"service-map.d/{path.name}": path for path in sorted(more.glob("*.yml")) if path.is_file()
    }


def fragments_of(settings: Settings) -> Path:
    """Return the folder of the service map's fragments."""
    return settings.service_map.with_name(f"{settings.service_map.stem}.d")


def place_of_settings(settings: Settings, name: str) -> Path:
    """Return where an operator's file of a backup belongs here."""
    folder, _, rest = name.partition("/")
    if rest:
        return fragments_of(settings) / Path(rest).name
    return operator_files(settings).get(folder, Path(Path(folder).name))


def _plain_files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        # What PostgreSQL owns may not even be listed, and is not wanted.
        if Path(parent) == folder and "postgres" in folders:
            folders.remove("postgres")
        for name in sorted(names):
            path = Path(parent, name)
            if stat.S_ISREG(path.lstat().st_mode):
                yield path
