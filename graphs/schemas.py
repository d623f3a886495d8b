"""Tools as a model reads them: small JSON schemas, made once per tool."""

from collections.abc import Iterable, Mapping
from typing import Any

from nebula.tool.definition import AnyTool
from nebula.tool.registry import Registry

Schema = dict[str, Any]

# Lengths are checked when a call comes in, and the answer names the field.
_NOISE = {"title", "minLength", "maxLength"}
_DESCRIPTION = 400


class Schemas:
    """Every tool a graph can bind, by name, in the form that chat models take."""

    def __init__(self, registry: Registry, own: Iterable[Schema] = ()) -> None:
        """Take the registry, and the schemas of what the graph itself offers."""
        self._registry = registry
        self._made: dict[str, Schema] = {each["function"]["name"]: each for each in own}

    def of(self, names: Iterable[str]) -> list[Schema]:
        """Return the schemas of these tools, in their order; unknown names are left out."""
        return [made for name in names if (made := self._schema(name)) is not None]

    def _schema(self, name: str) -> Schema | None:
        if name not in self._made:
            if name not in self._registry:
                return None
            self._made[name] = _of_tool(self._registry.get(name))
        return self._made[name]


def function(name: str, description: str, parameters: Mapping[str, Any]) -> Schema:
    """Return a function in the form that chat models take."""
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": dict(parameters)},
    }


def _of_tool(tool: AnyTool) -> Schema:
    first = " ".join(tool.description.split("\n\n")[0].split())
    return function(tool.name, first[:_DESCRIPTION], compact(_choices_in_place(tool.schema())))


def _choices_in_place(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Write the values of a choice where it is used; a model needs no name for their type."""
    shared: Mapping[str, Any] = schema.get("$defs", {})
    choices = {
        f"#/$defs/{name}": {key: made[key] for key in ("type", "enum") if key in made}
        for name, made in shared.items()
        if "enum" in made
    }

    def placed(part: Any) -> Any:
        if isinstance(part, list):
            return [placed(each) for each in part]
        if not isinstance(part, Mapping):
            return part
        rest = {key: placed(value) for key, value in part.items() if key != "$ref"}
        at = part.get("$ref")
        if at is None:
            return rest
        return {**choices[at], **rest} if at in choices else {"$ref": at, **rest}

    kept = {name: placed(made) for name, made in shared.items() if "enum" not in made}
    rest = {key: placed(value) for key, value in schema.items() if key != "$defs"}
    return {**rest, "$defs": kept} if kept else rest


def compact(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what costs tokens and tells a model little: titles, lengths, nullable unions."""
    kept = {key: value for key, value in schema.items() if key not in _NOISE}
    if isinstance(kept.get("additionalProperties"), bool):
        del kept["additionalProperties"]
    if isinstance(properties := kept.get("properties"), Mapping):
        kept["properties"] = {name: compact(value) for name, value in properties.items()}
    if isinstance(items := kept.get("items"), Mapping):
        kept["items"] = compact(items)
    if isinstance(shared := kept.get("$defs"), Mapping):
        kept["$defs"] = {name: compact(value) for name, value in shared.items()}
    if "default" in kept and kept["default"] is None:
        del kept["default"]
    options = [option for option in kept.get("anyOf", ()) if option.get("type") != "null"]
    if len(options) == 1:
        del kept["anyOf"]
        kept = {**compact(options[0]), **kept}
    elif options:
        kept["anyOf"] = [compact(option) for option in options]
    return kept
