"""Arguments as they arrive: strict JSON in, field-by-field problems out."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from nebula.errors import InvalidInput
from nebula.tool.definition import AnyTool

_MAX_DEPTH = 64


def parse(body: bytes) -> dict[str, Any]:
    """Read a JSON object strictly: no duplicate keys, no NaN, no lone surrogates, bounded depth.

    Raises:
        InvalidInput: when the body is anything else.
    """
    if not body.strip():
        return {}
    try:
        value = json.loads(body, object_pairs_hook=_unique, parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"The body is not valid JSON: {_why(error)}.") from error
    if not isinstance(value, dict):
        raise InvalidInput("The body must be a JSON object of arguments.")
    if _depth(value) > _MAX_DEPTH:
        raise InvalidInput(f"The body is nested deeper than {_MAX_DEPTH} levels.")
    return value


def checked(tool: AnyTool, arguments: Mapping[str, Any]) -> BaseModel:
    """Return valid arguments.

    Raises:
        InvalidInput: with every field at fault.
    """
    try:
        return tool.input_model.model_validate(dict(arguments))
    except ValidationError as error:
        raise problems(tool, error) from error


def problems(tool: AnyTool, error: ValidationError) -> InvalidInput:
    """Turn a validation error into one message that names every field at fault."""
    fields = [
        {
            "field": ".".join(str(part) for part in item["loc"]) or "arguments",
            "problem": item["msg"],
        }
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    told = "; ".join(f"{entry['field']}: {entry['problem']}" for entry in fields[:5])
    known = ", ".join(tool.input_model.model_fields) or "none"
    return InvalidInput(
        f"{tool.name} cannot take that: {told}", hint=f"Its arguments: {known}.", fields=fields
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, UnicodeError):
        return "it holds text that is not Unicode"
    return str(error)


def _depth(value: Any) -> int:
    deepest, layer = 0, [value]
    while layer:
        deepest += 1
        layer = [
            child
            for node in layer
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
    return deepest
