"""How services are installed, as data: one YAML file each, beside this one or the owner's own."""

import platform
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from node.config import parsed
from node.documents import read
from node.errors import AgentError, BadConfig, Unknown

_OURS = Path(__file__).parent
_GB = 1024**3


@dataclass(frozen=True)
class RecipeService:
    """The service that a recipe leaves behind; `{folder}`, `{bind}`, `{port}` are filled in."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    health: str | None = None
    start_seconds: float = 180.0


@dataclass(frozen=True)
class Recipe:
    """What to check, the steps as argument lists, and the service at the end. Sizes in GB."""

    name: str
    kind: str
    version: str
    port: int
    service: RecipeService
    steps: tuple[tuple[str, ...], ...] = field(default_factory=tuple)
    disk_gb: float = 1.0
    vram_gb: float = 0.0
    about: str = ""

    @property
    def disk(self) -> int:
        """Return how many bytes of disk it takes."""
        return int(self.disk_gb * _GB)

    @property
    def vram(self) -> int:
        """Return how many bytes the card must have."""
        return int(self.vram_gb * _GB)


def recipe(home: Path, name: str) -> Recipe:
    """Return a recipe by its name; the owner's own come first. Raises Unknown or BadConfig."""
    found = {file.stem: file for file in _files(home)}
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise Unknown(f"There is no recipe {name[:60]!r} on this machine", hint=f"Known: {known}.")
    return _load(found[name])


def recipes(home: Path) -> tuple[Recipe, ...]:
    """Return every recipe, by name."""
    found = {file.stem: file for file in _files(home)}
    return tuple(_load(found[name]) for name in sorted(found))


def _files(home: Path) -> list[Path]:
    return [*sorted(_OURS.glob("*.yml")), *sorted((home / "recipes").glob("*.yml"))]


def _load(file: Path) -> Recipe:
    try:
        document = parsed(file)
        return read(Recipe, _here({**document, "name": file.stem}))
    except (OSError, ValueError, TypeError, yaml.YAMLError, AgentError) as error:
        raise BadConfig(f"The recipe {file.name} has a mistake: {error}") from error


def _here(document: dict[str, Any]) -> dict[str, Any]:
    """Take what is meant for this system out of what differs between systems."""
    taken = {key: _mine(value) for key, value in document.items()}
    service = {key: _mine(value) for key, value in dict(taken.get("service") or {}).items()}
    env = service.get("env") or {}
    service["env"] = [[str(k), str(v)] for k, v in env.items()]
    return {**taken, "service": service, "version": str(taken.get("version", ""))}


def _mine(value: Any) -> Any:
    """Choose by system, else by system and processor: {linux: …, windows: …, linux-arm64: …}."""
    if not isinstance(value, dict):
        return value
    system = "windows" if sys.platform == "win32" else "linux"
    machine = {"aarch64": "arm64", "x86_64": "amd64"}.get(platform.machine(), platform.machine())
    for key in (f"{system}-{machine.lower()}", system):
        if key in value:
            return value[key]
    return value
