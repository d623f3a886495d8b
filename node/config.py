"""The agent's folder: who this machine is (node.json), and what its owner allows (config.yml).

Only files of this machine decide what may run here. The control plane names a command or a
recipe; it can never bring one.
"""

import contextlib
import json
import os
import re
import sys
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from node.documents import read
from node.errors import AgentError, BadConfig, BadRequest, NotAllowed, Unknown
from node.protocol import CommandInfo

_PLAIN = r"[A-Za-z0-9][A-Za-z0-9_.:/=+@,-]*"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
EXAMPLE = """\
# What Jarvis may run on this machine. Only this file decides it; changes count at once.
commands:
{commands}
# A command takes words from its caller only with `extra_args: true`; each has to match
# `args_pattern`, which by default lets no word begin with a dash.
#  train-lora:
#    argv: [/opt/train/venv/bin/python, /opt/train/lora.py]
#    extra_args: true
#    gpu: true            # runs under a lease of a card only

# Into which folders Jarvis may download models, by the kind of service that reads them:
# ComfyUI's `models`, the folder SD WebUI is in.
#models:
#  comfyui: /home/me/ComfyUI/models

# Jarvis may delete model files from these folders, each after a person approved it.
#delete_models: true

# Which services Jarvis may install here: of those this agent has a recipe for.
recipes: {recipes}
"""
_COMMANDS = {
    "disk": (["df", "-h"], ["wmic", "logicaldisk", "get", "caption,size,freespace"]),
    "uptime": (["uptime"], ["net", "statistics", "workstation"]),
    "nvidia-smi": (["nvidia-smi"], ["nvidia-smi"]),
}


@dataclass(frozen=True)
class Identity:
    """Who this machine is to its control plane; the file is for its owner's eyes only."""

    name: str
    control: str
    secret: str
    key_digest: str
    bind: str
    port: int
    url: str
    ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None


@dataclass(frozen=True)
class Command:
    """A program that may be started here."""

    name: str
    argv: tuple[str, ...]
    description: str = ""
    extra_args: bool = False
    args_pattern: str = _PLAIN
    gpu: bool = False
    cwd: str | None = None
    env: tuple[tuple[str, str], ...] = ()

    def with_args(self, args: tuple[str, ...]) -> tuple[str, ...]:
        """Return the whole argument list; raises NotAllowed for words it must not take."""
        if args and not self.extra_args:
            raise NotAllowed(
                f"{self.name} takes no arguments here",
                hint="Its owner can say `extra_args: true` in the node's config.yml.",
            )
        for word in args:
            if not re.fullmatch(self.args_pattern, word):
                raise NotAllowed(
                    f"{self.name} does not take {word[:60]!r}",
                    hint="The node's config.yml says with `args_pattern` which words it takes.",
                )
        return (*self.argv, *args)

    def info(self) -> CommandInfo:
        """Return what may be told of it."""
        return CommandInfo(self.name, self.argv, self.description, self.extra_args, self.gpu)


@dataclass(frozen=True)
class ServiceSpec:
    """A service that the agent looks after."""

    name: str
    argv: tuple[str, ...]
    kind: str = "http"
    port: int | None = None
    gpu: int | None = None
    health: str | None = None
    cwd: str | None = None
    env: tuple[tuple[str, str], ...] = ()
    autostart: bool = True
    start_seconds: float = 120.0


@dataclass(frozen=True)
class Config:
    """What the owner allows."""

    commands: dict[str, Command] = field(default_factory=dict)
    services: dict[str, ServiceSpec] = field(default_factory=dict)
    recipes: tuple[str, ...] | None = None
    """None = every recipe that is there."""
    models: dict[str, str] = field(default_factory=dict)
    """Kind of service → the folder into which its models may be downloaded."""
    delete_models: bool = False
    """Model files may be deleted from those folders, too."""

    def command(self, name: str) -> Command:
        """Return an allowed command; raises Unknown."""
        found = self.commands.get(name)
        if found is None:
            known = ", ".join(sorted(self.commands)) or "none"
            raise Unknown(
                f"There is no command {name[:60]!r} on this machine",
                hint=f"Allowed: {known}. Its owner adds more in the node's config.yml.",
            )
        return found


@dataclass(frozen=True)
class Home:
    """The agent's folder."""

    path: Path

    @property
    def identity_file(self) -> Path:
        """Return where the identity is kept."""
        return self.path / "node.json"

    @property
    def config_file(self) -> Path:
        """Return where the owner says what is allowed."""
        return self.path / "config.yml"

    def identity(self) -> Identity:
        """Read who this machine is; raises BadConfig before it joined."""
        try:
            return read(Identity, json.loads(self.identity_file.read_text("utf-8")))
        except FileNotFoundError as error:
            raise BadConfig(
                "This machine has not joined yet", hint="python -m node join URL TOKEN"
            ) from error
        except (ValueError, BadRequest) as error:
            raise BadConfig(f"{self.identity_file} is damaged: {error}") from error

    def keep(self, identity: Identity) -> None:
        """Write who this machine is, for its owner's eyes only, whole or not at all."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self.path / "node.json.draft"
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(identity), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.identity_file)

    def write_example(self) -> None:
        """Give a new machine an allow-list of its own, of commands that only look."""
        if self.config_file.exists():
            return
        side = 1 if sys.platform == "win32" else 0
        lines = "".join(f"  {n}: {{argv: {json.dumps(c[side])}}}\n" for n, c in _COMMANDS.items())
        text = EXAMPLE.format(commands=lines.rstrip("\n"), recipes="[ollama, comfyui, sdwebui]")
        self.config_file.write_text(text, encoding="utf-8")

    def config(self) -> Config:
        """Read what is allowed; raises BadConfig with the mistake."""
        document = _yaml(self.config_file)
        services = dict(document.get("services") or {})
        for file in sorted((self.path / "services.d").glob("*.yml")):
            services[file.stem] = _yaml(file)
        recipes = document.get("recipes")
        try:
            return Config(
                commands={n: _command(n, v) for n, v in (document.get("commands") or {}).items()},
                services={n: _service(n, v) for n, v in services.items()},
                recipes=None if recipes is None else tuple(str(r) for r in recipes),
                models={str(n): str(f) for n, f in (document.get("models") or {}).items()},
                delete_models=_yes(document, "delete_models"),
            )
        except AgentError as error:
            raise BadConfig(f"{self.config_file.name}: {error}") from error
        except (TypeError, AttributeError) as error:
            raise BadConfig(f"{self.config_file.name} does not have the expected form") from error


@lru_cache(maxsize=64)
def _parsed(file: Path, _changed: int, _size: int) -> Any:
    """Parse a file once for each change of it: heartbeats look every other second."""
    return yaml.safe_load(file.read_text("utf-8"))


def parsed(file: Path) -> Any:
    """Return what a YAML file holds, which nobody may change; raises OSError or YAMLError."""
    found = file.stat()
    return _parsed(file, found.st_mtime_ns, found.st_size)


def _yaml(file: Path) -> dict[str, Any]:
    try:
        document = parsed(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadConfig(f"{file.name} cannot be read: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise BadConfig(f"{file.name} must hold names and values")
    return document


def _yes(document: dict[str, Any], name: str) -> bool:
    """Read a permission: it is given by `true` alone, and never by accident."""
    given = document.get(name, False)
    if not isinstance(given, bool):
        raise BadRequest(f"{name} must be true or false")
    return given


def _command(name: str, given: Any) -> Command:
    entry = _entry(name, given)
    try:
        re.compile(entry.get("args_pattern", _PLAIN))
    except re.error as error:
        raise BadRequest(f"{name}: args_pattern is no pattern: {error}") from error
    return read(Command, entry)


def _service(name: str, given: Any) -> ServiceSpec:
    return read(ServiceSpec, _entry(name, given))


def _entry(name: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise BadRequest(f"{name} must hold at least `argv`")
    if not _NAME.fullmatch(str(name)):
        raise BadRequest(f"{str(name)[:60]!r} is no name; use small letters, digits and hyphens")
    if not given.get("argv"):
        raise BadRequest(f"{name}: argv is missing")
    env = given.get("env") or {}
    return {**given, "name": name, "env": [[str(k), str(v)] for k, v in env.items()]}
