"""Turns JSON into the protocol's dataclasses, checking every type; and back."""

import types
from dataclasses import MISSING, asdict, fields, is_dataclass
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from node.errors import BadRequest

T = TypeVar("T")


def read(kind: type[T], document: Any) -> T:
    """Read a dataclass from JSON; keys it does not know are left out.

    Raises:
        BadRequest: naming the first place that does not fit.
    """
    made: T = _value(kind, document, kind.__name__)
    return made


def write(value: Any) -> Any:
    """Return a dataclass, or a sequence of them, as JSON data."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return [write(item) for item in value]


def _value(kind: Any, given: Any, place: str) -> Any:
    origin = get_origin(kind)
    if origin in {Union, types.UnionType}:
        options = get_args(kind)
        if given is None and type(None) in options:
            return None
        return _value(next(o for o in options if o is not type(None)), given, place)
    if origin is tuple:
        if not isinstance(given, list | tuple):
            raise BadRequest(f"{place} must be a list")
        inner = get_args(kind)[0]
        return tuple(_value(inner, item, f"{place}.{i}") for i, item in enumerate(given))
    if is_dataclass(kind):
        return _dataclass(kind, given, place)
    return _plain(kind, given, place)


def _dataclass(kind: Any, given: Any, place: str) -> Any:
    if not isinstance(given, dict):
        raise BadRequest(f"{place} must be an object")
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for field in fields(kind):
        if field.name in given:
            values[field.name] = _value(
                hints[field.name], given[field.name], f"{place}.{field.name}"
            )
        elif field.default is MISSING:
            raise BadRequest(f"{place}.{field.name} is missing")
    return kind(**values)


def _plain(kind: Any, given: Any, place: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(given)
        except ValueError as error:
            raise BadRequest(f"{place} cannot be {str(given)[:40]!r}") from error
    if kind is float and isinstance(given, int) and not isinstance(given, bool):
        return float(given)
    if type(given) is not kind:
        raise BadRequest(f"{place} must be of the type {kind.__name__}")
    return given
