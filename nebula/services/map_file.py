"""Reads the service map and its fragments; every mistake is named with its file and line."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from nebula.services.map import ModelSpec, NodeSpec, ServiceMap, ServiceSpec

MAX_BYTES = 1024 * 1024
# A map this long is a mistake, or an alias bomb ("billion laughs").
_MAX_NODES = 20_000
_VARIABLE = re.compile(r"\$\{([A-Za-z0-9_]+)\}")

Loc = tuple[str | int, ...]


class MapProblem(BaseModel):
    """One mistake in the service map, with where it is; lines count from 1."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file} line {self.line}: {self.message}"


class BadMap(Exception):
    """The service map cannot be used; `problems` says where and why."""

    def __init__(self, problems: Sequence[MapProblem]) -> None:
        """Take every mistake that was found."""
        super().__init__("; ".join(str(p) for p in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class _Document:
    """One parsed file: its data, and the line of every place in it."""

    file: str
    data: Any
    lines: Mapping[Loc, int]

    def problem(self, loc: Loc, message: str) -> MapProblem:
        while loc and loc not in self.lines:
            loc = loc[:-1]
        return MapProblem(file=self.file, line=self.lines.get(loc, 1), message=message)


def map_files(path: Path) -> list[Path]:
    """Return the map's file and its fragments `service-map.d/*.yml`, in order of name."""
    folder = path.with_name(f"{path.stem}.d")
    fragments = sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")]) if folder.is_dir() else []
    return [path, *fragments]


def load_map(path: Path, variables: Mapping[str, str], *, nvidia: bool) -> ServiceMap:
    """Read the map and its fragments as one, with `${NAME}` replaced from `variables`.

    `nvidia` says whether this machine has an NVIDIA card, for parts with `only_when`.

    Raises:
        BadMap: with every mistake of every file that could be read.
    """
    documents: list[_Document] = []
    problems: list[MapProblem] = []
    parts: list[ServiceMap] = []
    for file in map_files(path):
        try:
            document = _parse(file, variables)
            parts.append(_validate(document))
            documents.append(document)
        except BadMap as bad:
            problems += bad.problems
    if problems:
        raise BadMap(problems)
    problems = list(_contradictions(list(zip(documents, parts, strict=True))))
    if problems:
        raise BadMap(problems)
    return _merge(parts, nvidia=nvidia)


def _merge(parts: Sequence[ServiceMap], *, nvidia: bool) -> ServiceMap:
    nodes = [n for part in parts for n in part.nodes if not (n.only_when and nvidia)]
    kept = {n.name for n in nodes}
    services = [s for part in parts for s in part.services if s.node in kept]
    return ServiceMap(nodes=tuple(nodes), services=tuple(services))


def _parse(file: Path, variables: Mapping[str, str]) -> _Document:
    """Read one file as YAML, and note the line of every key and item."""
    name = file.name
    try:
        raw = file.read_bytes()
        if len(raw) > MAX_BYTES:
            raise BadMap([MapProblem(file=name, line=1, message="the file is larger than 1 MB")])
        loader = yaml.SafeLoader(raw.decode("utf-8"))
        root = loader.get_single_node()
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise BadMap([MapProblem(file=name, line=1, message=reason)]) from error
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise BadMap([MapProblem(file=name, line=line, message="this is not UTF-8")]) from error
    except yaml.YAMLError as error:
        raise BadMap([_yaml_problem(name, error)]) from error
    lines: dict[Loc, int] = {(): 1}
    problems = list(_walk(name, root, (), lines)) if root is not None else []
    if problems:
        raise BadMap(problems)
    try:
        data = {} if root is None else loader.construct_document(root)
    except yaml.YAMLError as error:
        raise BadMap([_yaml_problem(name, error)]) from error
    return _Document(name, _fill(data, variables), lines)


def _yaml_problem(name: str, error: yaml.YAMLError) -> MapProblem:
    mark = getattr(error, "problem_mark", None)
    said = getattr(error, "problem", None) or "this is not YAML"
    return MapProblem(file=name, line=mark.line + 1 if mark else 1, message=str(said))


def _walk(name: str, node: yaml.Node, loc: Loc, lines: dict[Loc, int]) -> Iterator[MapProblem]:
    """Note the line of each place, and find keys that stand twice."""
    if len(lines) > _MAX_NODES:
        raise BadMap([MapProblem(file=name, line=1, message="the map has too many entries")])
    lines.setdefault(loc, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _walk(name, item, (*loc, index), lines)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            place = (*loc, str(key.value))
            line = key.start_mark.line + 1
            if str(key.value) in seen:
                said = f"the key {key.value!r} stands twice"
                yield MapProblem(file=name, line=line, message=said)
            seen.add(str(key.value))
            lines[place] = line
            yield from _walk(name, value, place, lines)


def _fill(data: Any, variables: Mapping[str, str]) -> Any:
    """Replace `${NAME}` in every text; an unknown name is left as it is."""
    if isinstance(data, str):
        return _VARIABLE.sub(lambda m: variables.get(m.group(1), m.group(0)), data)
    if isinstance(data, list):
        return [_fill(item, variables) for item in data]
    if isinstance(data, dict):
        return {key: _fill(value, variables) for key, value in data.items()}
    return data


def _validate(document: _Document) -> ServiceMap:
    try:
        return ServiceMap.model_validate(document.data)
    except ValidationError as error:
        problems = [document.problem(e["loc"], _said(e)) for e in error.errors()]
        raise BadMap(problems) from error


def _said(error: ErrorDetails) -> str:
    """Put a validation error into words."""
    loc = error["loc"]
    place = ".".join(str(part) for part in loc) or "the map"
    key = str(loc[-1]) if loc else ""
    if error["type"] == "extra_forbidden":
        near = get_close_matches(key, _keys_at(loc), n=1)
        return f"{place}: unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    if error["type"] == "missing":
        return f"{place}: {key!r} is missing"
    if error["type"] == "value_error":
        return f"{place}: {error['ctx']['error']}"
    if error["type"] in {"model_type", "model_attributes_type"}:
        return f"{place}: a mapping with keys is expected here, not {_short(error['input'])}"
    return f"{place}: {error['msg']}, not {_short(error['input'])}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _keys_at(loc: Loc) -> list[str]:
    """Return the keys that may stand beside a place, for suggestions."""
    model: type[BaseModel] = ServiceMap
    if "models" in loc:
        model = ModelSpec
    elif len(loc) > 1:
        model = NodeSpec if loc[0] == "nodes" else ServiceSpec
    return list(model.model_fields)


def _contradictions(parts: Sequence[tuple[_Document, ServiceMap]]) -> Iterator[MapProblem]:
    """Find what is valid by itself but not together: names twice, nodes that do not exist."""
    nodes: dict[str, str] = {}
    services: dict[str, str] = {}
    for document, part in parts:
        for i, node in enumerate(part.nodes):
            yield from _twice(document, ("nodes", i, "name"), node.name, nodes)
            indexes = [g.index for g in node.gpus]
            if len(set(indexes)) < len(indexes):
                yield document.problem(("nodes", i, "gpus"), "two cards have the same index")
        for i, service in enumerate(part.services):
            yield from _twice(document, ("services", i, "name"), service.name, services)
            known: dict[str, str] = {}
            for j, model in enumerate(service.models):
                loc = ("services", i, "models", j, "name")
                yield from _twice(document, loc, model.name, known)
    every_node = {n.name: n for _, part in parts for n in part.nodes}
    for document, part in parts:
        for i, service in enumerate(part.services):
            yield from _misplaced(document, i, service, every_node)


def _twice(document: _Document, loc: Loc, name: str, seen: dict[str, str]) -> Iterator[MapProblem]:
    problem = document.problem(loc, "")
    key = name.casefold()
    if key in seen:
        yield problem.model_copy(
            update={"message": f"the name {name!r} is taken already ({seen[key]})"}
        )
    seen.setdefault(key, f"{problem.file} line {problem.line}")


def _misplaced(
    document: _Document, i: int, service: ServiceSpec, nodes: Mapping[str, NodeSpec]
) -> Iterator[MapProblem]:
    node = nodes.get(service.node)
    if node is None:
        near = get_close_matches(service.node, nodes, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        said = f"{service.name!r} is on the node {service.node!r}, which does not exist{hint}"
        yield document.problem(("services", i, "node"), said)
    elif service.kind == "simulated" and not node.simulated:
        said = f"{service.name!r} is simulated, so its node must say 'simulated: true'"
        yield document.problem(("services", i, "kind"), said)
    elif service.kind in {"http", "tcp"} and not (service.url or service.port):
        yield document.problem(("services", i), f"{service.name!r} needs a url or a port")
