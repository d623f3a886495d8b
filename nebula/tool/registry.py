"""Finds tools. Importing a feature registers nothing; the registry looks for tools in it."""

import hashlib
import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from types import ModuleType

from nebula.errors import NotFound
from nebula.tool.definition import AnyTool, BadDeclaration, Tool


class Registry:
    """Every tool of the running system, by name."""

    def __init__(self, tools: Iterable[AnyTool] = (), about: dict[str, str] | None = None) -> None:
        """Take the tools, and one line about each feature."""
        self._tools: dict[str, AnyTool] = {}
        self.about = about or {}
        for tool in tools:
            if tool.name in self._tools:
                raise BadDeclaration(f"two tools are named {tool.name!r}")
            self._tools[tool.name] = tool

    @classmethod
    def discover(cls, *packages: str) -> "Registry":
        """Collect the tools of every feature folder in the named packages."""
        found: list[AnyTool] = []
        about: dict[str, str] = {}
        for package in packages:
            for feature in _features(importlib.import_module(package)):
                about.setdefault(feature.__name__.rpartition(".")[2], _first_line(feature))
                found += _tools_of(feature)
        return cls(sorted(found, key=lambda tool: tool.name), about)

    def get(self, name: str) -> AnyTool:
        """Return a tool by its name."""
        try:
            return self._tools[name]
        except KeyError:
            raise NotFound(
                f"There is no tool {name!r}", hint="List the tools to see their names."
            ) from None

    def __iter__(self) -> Iterator[AnyTool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __contains__(self, name: str) -> bool:
        return name in self._tools

    def catalogue_hash(self) -> str:
        """Return a hash that changes whenever any tool's description or contract does."""
        digest = hashlib.sha256()
        for tool in self:
            text = f"{tool.schema_hash()}\n{tool.description}\n{tool.says}\n{tool.examples}\n"
            digest.update(text.encode())
        return digest.hexdigest()


def _features(package: ModuleType) -> Iterator[ModuleType]:
    for entry in pkgutil.iter_modules(package.__path__):
        if entry.ispkg:
            yield importlib.import_module(f"{package.__name__}.{entry.name}")


def _tools_of(feature: ModuleType) -> Iterator[AnyTool]:
    """Yield the tools of a feature's `tools.py` and `tools_*.py` (or a graph's `workflow.py`)."""
    for entry in pkgutil.iter_modules(feature.__path__):
        if entry.name not in {"tools", "workflow"} and not entry.name.startswith("tools_"):
            continue
        name = f"{feature.__name__}.{entry.name}"
        for value in vars(importlib.import_module(name)).values():
            if isinstance(value, Tool) and value.fn.__module__ == name:
                yield value


def _first_line(module: ModuleType) -> str:
    return (module.__doc__ or "").strip().split("\n")[0]
