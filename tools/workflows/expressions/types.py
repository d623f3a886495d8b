"""What a value is, as JSON knows it, read from the schemas of tools. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Kind = Literal["any", "null", "boolean", "integer", "number", "text", "list", "object"]

_KINDS: dict[str, Kind] = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "array": "list",
    "object": "object",
    "null": "null",
}
_DEEPEST = 8


@dataclass(frozen=True)
class Type:
    """A kind of value; what is in it, as far as that is known."""

    kind: Kind
    item: "Type | None" = None
    """Of each item of a list, or of each value of an object with free names."""
    fields: Mapping[str, "Type"] | None = field(default=None, hash=False)
    """Of an object with known names."""
    choices: tuple[Any, ...] = ()
    """The only values it has, where that is known."""

    def __str__(self) -> str:
        return (
            "a list" if self.kind == "list" else "an object" if self.kind == "object" else self.kind
        )


ANY = Type("any")
NULL = Type("null")
BOOLEAN = Type("boolean")
INTEGER = Type("integer")
NUMBER = Type("number")
TEXT = Type("text")


def list_of(item: Type) -> Type:
    """Return the type of lists of something."""
    return Type("list", item)


def object_of(fields: Mapping[str, Type]) -> Type:
    """Return the type of an object with these fields."""
    return Type("object", fields=fields)


def from_schema(schema: Mapping[str, Any]) -> Type:
    """Return what a JSON schema describes; where it leaves much open, so does the type."""
    return _from(schema, schema.get("$defs", {}), 0)


def of_value(value: Any) -> Type:
    """Return the type of a JSON value."""
    match value:
        case None:
            return NULL
        case bool():
            return BOOLEAN
        case int():
            return INTEGER
        case float():
            return INTEGER if value.is_integer() else NUMBER
        case str():
            return replace(TEXT, choices=(value,))
        case list() | tuple():
            return list_of(joined([of_value(each) for each in value]))
        case dict():
            return object_of({str(key): of_value(each) for key, each in value.items()})
        case _:
            return ANY


def joined(types: Sequence[Type]) -> Type:
    """Return a type that all of some types are."""
    kinds = {each.kind for each in types} - {"null"}
    real = [each for each in types if each.kind != "null"]
    if not real:
        return types[0] if types else ANY
    if len(kinds) == 1:
        one = real[0]
        if one.choices and all(each.choices for each in real):
            every = [choice for each in real for choice in each.choices]
            return replace(one, choices=tuple(dict.fromkeys(every)))
        if one.kind in {"list", "object"} and len(real) > 1:
            return _merged(one.kind, real)
        return replace(one, choices=()) if len(real) > 1 else one
    return NUMBER if kinds == {"integer", "number"} else ANY


def _merged(kind: Kind, types: Sequence[Type]) -> Type:
    items = [each.item for each in types if each.item is not None]
    item = joined(items) if items else None
    fields: dict[str, list[Type]] = {}
    for each in types:
        for name, found in (each.fields or {}).items():
            fields.setdefault(name, []).append(found)
    known = all(each.fields is not None for each in types)
    merged = {name: joined(found) for name, found in fields.items()} if known else None
    return Type(kind, item, merged)


def fits(given: Type, wanted: Type) -> bool:
    """Say whether a value of one type may stand where another is wanted."""
    if "any" in {given.kind, wanted.kind} or given.kind == "null":
        return True
    if given.kind == "integer" and wanted.kind == "number":
        return True
    if given.kind != wanted.kind:
        return False
    if given.choices and wanted.choices:
        return bool(set(given.choices) & set(wanted.choices))
    if given.kind in {"list", "object"} and given.item is not None and wanted.item is not None:
        return fits(given.item, wanted.item)
    return True


def _from(schema: Mapping[str, Any], defs: Mapping[str, Any], depth: int) -> Type:
    if depth > _DEEPEST:
        return ANY
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        return _from(defs.get(name, {}), defs, depth + 1)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return joined([_from(each, defs, depth + 1) for each in schema[key]])
    if "const" in schema:
        return of_value(schema["const"])
    if "enum" in schema:
        found = joined([of_value(each) for each in schema["enum"]])
        return replace(found, choices=tuple(schema["enum"]))
    kind = schema.get("type")
    if isinstance(kind, list):
        return joined([_from({**schema, "type": each}, defs, depth + 1) for each in kind])
    match _KINDS.get(str(kind), "any"):
        case "list":
            items = schema.get("items") or {}
            return list_of(_from(items, defs, depth + 1) if isinstance(items, Mapping) else ANY)
        case "object":
            return _object(schema, defs, depth)
        case known:
            return Type(known)


def _object(schema: Mapping[str, Any], defs: Mapping[str, Any], depth: int) -> Type:
    more = schema.get("additionalProperties")
    item = _from(more, defs, depth + 1) if isinstance(more, Mapping) else ANY
    properties = schema.get("properties")
    if not properties:
        return Type("object", item=item)
    return object_of({name: _from(each, defs, depth + 1) for name, each in properties.items()})
