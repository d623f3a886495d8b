"""Reads the service map and its fragments; every mistake is named with its file and line."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from nebula.services.map import NodeSpec, ServiceMap, ServiceSpec
from nebula.yaml_file import BadFile, Document, Loc, Problem, read_yaml

_VARIABLE = re.compile(r"\$\{([A-Za-z0-9_]+)\}")


def map_files(path: Path) -> list[Path]:
    """Return the map's file and its fragments `service-map.d/*.yml`, in order of name."""
    folder = path.with_name(f"{path.stem}.d")
    fragments = sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")]) if folder.is_dir() else []
    return [path, *fragments]


def load_map(path: Path, variables: Mapping[str, str], *, nvidia: bool) -> ServiceMap:
    """Read the map and its fragments as one, with `${NAME}` replaced from `variables`.

    `nvidia` says whether this machine has an NVIDIA card, for parts with `only_when`.

    Raises:
        BadFile: with every mistake of every file that could be read.
    """
    documents: list[Document] = []
    problems: list[Problem] = []
    parts: list[ServiceMap] = []
    for file in map_files(path):
        try:
            document = read_yaml(file)
            document = replace(document, data=_fill(document.data, variables))
            parts.append(document.validated(ServiceMap))
            documents.append(document)
        except BadFile as bad:
            problems += bad.problems
    if problems:
        raise BadFile(problems)
    problems = list(_contradictions(list(zip(documents, parts, strict=True))))
    if problems:
        raise BadFile(problems)
    return _merge(parts, nvidia=nvidia)


def _merge(parts: Sequence[ServiceMap], *, nvidia: bool) -> ServiceMap:
    nodes = [n for part in parts for n in part.nodes if not (n.only_when and nvidia)]
    kept = {n.name for n in nodes}
    services = [s for part in parts for s in part.services if s.node in kept]
    return ServiceMap(nodes=tuple(nodes), services=tuple(services))


def _fill(data: Any, variables: Mapping[str, str]) -> Any:
    """Replace `${NAME}` in every text; an unknown name is left as it is."""
    if isinstance(data, str):
        return _VARIABLE.sub(lambda m: variables.get(m.group(1), m.group(0)), data)
    if isinstance(data, list):
        return [_fill(item, variables) for item in data]
    if isinstance(data, dict):
        return {key: _fill(value, variables) for key, value in data.items()}
    return data


def _contradictions(parts: Sequence[tuple[Document, ServiceMap]]) -> Iterator[Problem]:
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


def _twice(document: Document, loc: Loc, name: str, seen: dict[str, str]) -> Iterator[Problem]:
    problem = document.problem(loc, "")
    key = name.casefold()
    if key in seen:
        yield problem.model_copy(
            update={"message": f"the name {name!r} is taken already ({seen[key]})"}
        )
    seen.setdefault(key, f"{problem.file} line {problem.line}")


def _misplaced(
    document: Document, i: int, service: ServiceSpec, nodes: Mapping[str, NodeSpec]
) -> Iterator[Problem]:
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
