"""Edits the two files that set-up writes, line by line, so that comments and order stay."""

import json
import os
import re
import time
from pathlib import Path

import yaml

from nebula.errors import InvalidInput, NotFound

_KEPT = 20


def env_value(text: str, key: str) -> str | None:
    """Return a key's value in a `.env` text; None when it is not set."""
    found = None
    for line in text.splitlines():
        match = _assignment(key).match(line)
        if match is not None:
            found = _unquoted(match[1].strip())
    return found


def with_env(text: str, key: str, value: str | None) -> str:
    """Return the text with the key set, or left out when the value is None."""
    lines = [line for line in text.splitlines() if not _assignment(key).match(line)]
    if value is not None:
        lines.append(f"{key}={_quoted(value)}")
    return "\n".join(lines) + "\n" if lines else ""


def map_address(text: str, service: str) -> str | None:
    """Return the address a service map gives a service; None when it follows from the node."""
    entry = _entry(text, service)
    return None if "url" not in entry else str(entry["url"].value)


def with_map_address(text: str, service: str, url: str | None) -> str:
    """Return the map with the service's `url` set, or left out when None.

    Raises:
        NotFound: when the map names no such service.
    """
    entry = _entry(text, service)
    old = entry.get("url")
    if old is not None and url is not None:
        return text[: old.start_mark.index] + json.dumps(url) + text[old.end_mark.index :]
    if old is not None:
        start = text.rindex("url", 0, old.start_mark.index)
        rest = re.sub(r"^[ \t]*,?[ \t]*(?:#.*)?\n?[ \t]*", "", text[old.end_mark.index :], count=1)
        return text[:start] + rest
    if url is None:
        return text
    name = entry["name"]
    at = name.end_mark.index
    line_start = text.rfind("\n", 0, name.start_mark.index) + 1
    flow = "{" in text[line_start : name.start_mark.index]
    if flow:
        return f"{text[:at]}, url: {json.dumps(url)}{text[at:]}"
    key = text.rindex("name", 0, name.start_mark.index)
    return f"{text[:at]}\n{' ' * (key - line_start)}url: {json.dumps(url)}{text[at:]}"


def read(path: Path) -> str:
    """Return a file's text, empty when there is none."""
    return path.read_text(encoding="utf-8") if path.exists() else ""


def backed_up(path: Path, folder: Path) -> Path | None:
    """Copy a file into the backups for its owner only; old copies go."""
    if not path.exists():
        return None
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    copy = (
        folder
        / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{time.time_ns() % 10**9:09}-{path.name}"
    )
    write(copy, path.read_text(encoding="utf-8"), private=True)
    for old in backups(path, folder)[_KEPT:]:
        old.unlink()
    return copy


def backups(path: Path, folder: Path) -> list[Path]:
    """Return the copies of a file, newest first."""
    return sorted(folder.glob(f"*-{path.name}"), reverse=True) if folder.is_dir() else []


def write(path: Path, text: str, *, private: bool) -> None:
    """Replace a file whole or not at all; a private one is readable by its owner only."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    mode = 0o600 if private else (path.stat().st_mode & 0o777 if path.exists() else 0o644)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(mode)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _assignment(key: str) -> re.Pattern[str]:
    return re.compile(rf"^\s*(?:export\s+)?{re.escape(key)}\s*=(.*)$")


def _quoted(value: str) -> str:
    if re.fullmatch(r"[\w./:@%+~-]*", value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == "'":
        return re.sub(r"\\(['\\])", r"\1", value[1:-1])
    if len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1]
    return re.split(r"\s+#", value)[0]


def _entry(text: str, service: str) -> dict[str, yaml.ScalarNode]:
    """Return a service's scalar values by key, with their places in the text."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise InvalidInput("The service map is not valid YAML; correct it first") from error
    parts = root.value if isinstance(root, yaml.MappingNode) else []
    services = next((value for key, value in parts if key.value == "services"), None)
    for item in services.value if isinstance(services, yaml.SequenceNode) else []:
        pairs = item.value if isinstance(item, yaml.MappingNode) else []
        entry = {k.value: v for k, v in pairs if isinstance(v, yaml.ScalarNode)}
        if entry.get("name") is not None and entry["name"].value == service:
            return entry
    raise NotFound(
        f"The service map names no service {service!r}",
        hint="Add it to service-map.yml with its kind and node.",
    )
