"""Arguments typed in a terminal (`key=value`), given the types that the tool declares."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from nebula.errors import InvalidInput
from nebula.tool.definition import AnyTool


def typed_arguments(tool: AnyTool, pairs: Sequence[str], document: str = "") -> dict[str, Any]:
    """Turn `key=value` pairs (a repeated key makes a list) and a JSON document into arguments.

    Raises:
        InvalidInput: when a pair has no `=`, a name is unknown, or the document is not an object.
    """
    arguments = _document(document)
    given: dict[str, list[str]] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise InvalidInput(f"{pair!r} is not key=value", hint="Write --arg key=value.")
        given.setdefault(key.strip().replace("-", "_"), []).append(value)
    schema = tool.schema()
    properties = schema.get("properties", {})
    for key, values in given.items():
        if key not in properties:
            known = ", ".join(properties) or "none"
            raise InvalidInput(f"{tool.name} takes no {key!r}", hint=f"Its arguments: {known}.")
        kinds = _kinds(properties[key], schema.get("$defs", {}))
        arguments[key] = _value(tool.name, key, values, kinds)
    return arguments


def _document(text: str) -> dict[str, Any]:
    try:
        read = json.loads(text or "{}")
    except ValueError as error:
        raise InvalidInput(f"--json-args is not JSON: {error}") from error
    if not isinstance(read, dict):
        raise InvalidInput("--json-args is not a JSON object")
    return read


def _kinds(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> set[str]:
    """Return the JSON types that a parameter's schema allows."""
    if reference := schema.get("$ref"):
        return _kinds(definitions[reference.rpartition("/")[2]], definitions)
    found: set[str] = set()
    for option in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        found |= _kinds(option, definitions)
    kind = schema.get("type", [])
    return found | ({kind} if isinstance(kind, str) else set(kind))


def _value(tool: str, key: str, values: list[str], kinds: set[str]) -> Any:
    if "array" in kinds and (len(values) > 1 or not values[0].lstrip().startswith("[")):
        return values
    if len(values) > 1:
        raise InvalidInput(f"{tool} takes one {key}, not {len(values)}")
    [text] = values
    if "string" in kinds:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return {"yes": True, "on": True, "no": False, "off": False}.get(text.lower(), text)
