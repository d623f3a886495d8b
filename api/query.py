"""Turns a query string into a tool's arguments; the tool's own model does the rest."""

import json
from collections.abc import Iterable
from typing import Any

from nebula.tool.definition import AnyTool


def arguments_of(tool: AnyTool, pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Collect query parameters: repeated ones for lists, JSON for objects, text for the rest.

    What does not fit is passed on as it is, so that the executor refuses it after authorizing.
    """
    properties: dict[str, Any] = tool.schema().get("properties", {})
    found: dict[str, Any] = {}
    for name, text in pairs:
        kinds = kinds_of(properties.get(name, {}))
        value: Any = _object(text) if "object" in kinds else text
        if "array" in kinds:
            found.setdefault(name, []).append(value)
        elif name in found:
            found[name] = [found[name], value]  # given twice: no single value, so it is refused
        else:
            found[name] = value
    return found


def kinds_of(schema: dict[str, Any]) -> set[str]:
    """Return the JSON types a property may have."""
    own = {str(schema["type"])} if "type" in schema else set()
    return own.union(*(kinds_of(option) for option in schema.get("anyOf", [])))


def _object(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
