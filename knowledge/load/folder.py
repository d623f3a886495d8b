"""Walks a folder: what may be read in it, without following links out of it."""

import fnmatch
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from knowledge.load.kinds import kind_of_name
from nebula.errors import TooLarge

IGNORE_FILES = (".gitignore", ".jarvisignore")

_SKIPPED_FOLDERS = frozenset(
    {"node_modules", "__pycache__", "venv", "dist", "build", "target", "site-packages"}
)
_SKIPPED_FILES = frozenset(
    {"package-lock.json", "yarn.lock", "pnpm-lock.yaml", "poetry.lock", "uv.lock", "cargo.lock"}
)
_MAX_DEPTH = 32


@dataclass(frozen=True)
class Entry:
    """A file of a folder, by its path inside it, and its kind."""

    path: Path
    inside: str
    kind: str


@dataclass(frozen=True)
class Walked:
    """What a folder holds for us, and how many files were left out."""

    entries: list[Entry]
    skipped: int


@dataclass(frozen=True)
class _Rule:
    """One line of an ignore file, for paths below the folder it lies in."""

    below: str
    pattern: str
    anchored: bool
    only_folders: bool
    keeps: bool

    def matches(self, inside: str, is_folder: bool) -> bool:
        if self.only_folders and not is_folder:
            return False
        relative = inside[len(self.below) :]
        if self.anchored:
            return fnmatch.fnmatchcase(relative, self.pattern)
        return fnmatch.fnmatchcase(relative.rsplit("/", 1)[-1], self.pattern)


def walk(root: Path, *, max_files: int) -> Walked:
    """List the readable files of a folder, in order of their paths.

    Hidden files, build output, lock files, what ignore files name, and kinds without a loader
    are left out. Links to folders are not followed, links to files only inside the folder.

    Raises:
        TooLarge: when there are more than `max_files`.
    """
    entries: list[Entry] = []
    skipped = 0
    for path, inside in _files(root.resolve(), "", [], 0):
        kind = kind_of_name(path.name)
        if kind is None or path.name.lower() in _SKIPPED_FILES:
            skipped += 1
            continue
        entries.append(Entry(path, inside, kind))
        if len(entries) > max_files:
            raise TooLarge(
                f"The folder holds more than {max_files:,} readable files",
                hint="Add its sub-folders one by one, or raise JARVIS_KNOWLEDGE_MAX_FILES.",
            )
    return Walked(sorted(entries, key=lambda entry: entry.inside), skipped)


def _files(root: Path, below: str, rules: list[_Rule], depth: int) -> Iterator[tuple[Path, str]]:
    folder = root / below
    rules = [*rules, *_rules_in(folder, below)]
    try:
        found = sorted(os.scandir(folder), key=lambda item: item.name)
    except OSError:
        return
    for item in found:
        inside = f"{below}{item.name}"
        is_folder = item.is_dir(follow_symlinks=False)
        if item.name.startswith(".") or _ignored(rules, inside, is_folder):
            continue
        if is_folder:
            if item.name.lower() not in _SKIPPED_FOLDERS and depth < _MAX_DEPTH:
                yield from _files(root, f"{inside}/", rules, depth + 1)
            continue
        path = _real_file(Path(item.path), root)
        if path is not None:
            yield path, inside


def _real_file(path: Path, root: Path) -> Path | None:
    """Return the file itself, or None for a link that leads out, nowhere or to a folder."""
    if not path.is_symlink():
        return path
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    return real if real.is_relative_to(root) and real.is_file() else None


def _rules_in(folder: Path, below: str) -> list[_Rule]:
    rules: list[_Rule] = []
    for name in IGNORE_FILES:
        path = folder / name
        if path.is_symlink() or not path.is_file():
            continue
        try:
            lines = path.read_text("utf-8", errors="replace").splitlines()[:1000]
        except OSError:
            continue
        rules += [rule for line in lines if (rule := _rule(line.strip(), below))]
    return rules


def _rule(line: str, below: str) -> _Rule | None:
    if not line or line.startswith("#"):
        return None
    keeps = line.startswith("!")
    pattern = line.removeprefix("!")
    only_folders = pattern.endswith("/")
    pattern = pattern.rstrip("/")
    anchored = "/" in pattern
    return _Rule(
        below, pattern.removeprefix("/").replace("**/", "*"), anchored, only_folders, keeps
    )


def _ignored(rules: list[_Rule], inside: str, is_folder: bool) -> bool:
    ignored = False
    for rule in rules:
        if rule.matches(inside, is_folder):
            ignored = not rule.keeps
    return ignored
