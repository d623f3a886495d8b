"""Reads a YAML file that people write by hand; every mistake is named with its file and line."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

MAX_BYTES = 1024 * 1024
# A file this long is a mistake, or an alias bomb ("billion laughs").
_MAX_NODES = 20_000

Loc = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)


class Problem(BaseModel):
    """One mistake in a file, with where it is; lines count from 1."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file} line {self.line}: {self.message}"


class BadFile(Exception):
    """The file cannot be used; `problems` says where and why."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Take every mistake that was found."""
        super().__init__("; ".join(str(p) for p in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Document:
    """One parsed file: its data, and the line of every place in it."""

    file: str
    data: Any
    lines: Mapping[Loc, int]

    def problem(self, loc: Loc, message: str) -> Problem:
        """Return a mistake at a place, or at the nearest place around it that stands in the file."""
        while loc and loc not in self.lines:
            loc = loc[:-1]
        return Problem(file=self.file, line=self.lines.get(loc, 1), message=message)

    def validated(self, model: type[M]) -> M:
        """Return the data as a model.

        Raises:
            BadFile: with every mistake, unknown keys with the nearest known one.
        """
        try:
            return model.model_validate(self.data)
        except ValidationError as error:
            problems = [self.problem(e["loc"], _said(model, e)) for e in error.errors()]
            raise BadFile(problems) from error


def read_yaml(path: Path) -> Document:
    """Read one file as YAML, and note the line of every key and item.

    Raises:
        BadFile: when it cannot be read, is no YAML, or names a key twice.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise BadFile([Problem(file=path.name, line=1, message=reason)]) from error
    return parse_yaml(path.name, raw)


def parse_yaml(name: str, raw: bytes) -> Document:
    """Read YAML that is known by a name, and note the line of every key and item.

    Raises:
        BadFile: when it is no YAML, or names a key twice.
    """
    try:
        if len(raw) > MAX_BYTES:
            raise BadFile([Problem(file=name, line=1, message="the file is larger than 1 MB")])
        loader = yaml.SafeLoader(raw.decode("utf-8"))
        root = loader.get_single_node()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise BadFile([Problem(file=name, line=line, message="this is not UTF-8")]) from error
    except yaml.YAMLError as error:
        raise BadFile([_yaml_problem(name, error)]) from error
    lines: dict[Loc, int] = {(): 1}
    problems = list(_walk(name, root, (), lines)) if root is not None else []
    if problems:
        raise BadFile(problems)
    try:
        data = {} if root is None else loader.construct_document(root)
    except yaml.YAMLError as error:
        raise BadFile([_yaml_problem(name, error)]) from error
    return Document(name, data, lines)


def _yaml_problem(name: str, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    said = getattr(error, "problem", None) or "this is not YAML"
    return Problem(file=name, line=mark.line + 1 if mark else 1, message=str(said))


def _walk(name: str, node: yaml.Node, loc: Loc, lines: dict[Loc, int]) -> Iterator[Problem]:
    """Note the line of each place, and find keys that stand twice."""
    if len(lines) > _MAX_NODES:
        raise BadFile([Problem(file=name, line=1, message="the file has too many entries")])
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
                yield Problem(file=name, line=line, message=said)
            seen.add(str(key.value))
            lines[place] = line
            yield from _walk(name, value, place, lines)


def _said(model: type[BaseModel], error: ErrorDetails) -> str:
    """Put a validation error into words."""
    loc = error["loc"]
    place = ".".join(str(part) for part in loc) or "the file"
    key = str(loc[-1]) if loc else ""
    if error["type"] == "extra_forbidden":
        near = get_close_matches(key, _keys_at(model, loc), n=1)
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


def _keys_at(model: type[BaseModel], loc: Loc) -> list[str]:
    """Return the keys that may stand beside a place, for suggestions."""
    at = model
    for part in loc[:-1]:
        if isinstance(part, str) and part in at.model_fields:
            at = _model_in(at.model_fields[part].annotation) or at
    return list(at.model_fields)


def _model_in(annotation: object) -> type[BaseModel] | None:
    """Return the model that a field holds, directly or within a collection."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in get_args(annotation))
    return next((each for each in found if each is not None), None)
