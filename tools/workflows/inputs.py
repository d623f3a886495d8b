"""The values that a run is given, against what its workflow declares. Pure."""

from collections.abc import Mapping
from typing import Any

from nebula.errors import InvalidInput
from nebula.near import near
from tools.workflows.spec import Input

_KINDS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "list": (list,),
    "object": (dict,),
}


def given(declared: Mapping[str, Input], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return every declared input with its value, default or nothing.

    Raises:
        InvalidInput: for an unknown name, a missing value or a wrong type; with every such field.
    """
    found: dict[str, Any] = {}
    wrong: list[tuple[str, InvalidInput]] = []
    for name in values:
        if name not in declared:
            hint = near(name, declared) or "This workflow takes none."
            wrong.append((name, InvalidInput(f"There is no input {name!r}", hint=hint)))
    for name, each in declared.items():
        try:
            found[name] = _value(name, each, values.get(name))
        except InvalidInput as error:
            wrong.append((name, error))
    if wrong:
        first = wrong[0][1]
        fields = [{"field": f"inputs.{name}", "problem": _said(error)} for name, error in wrong]
        raise InvalidInput(str(first), hint=first.hint, fields=fields)
    return found


def _said(error: InvalidInput) -> str:
    return f"{error}. {error.hint}" if error.hint else str(error)


def _value(name: str, declared: Input, value: Any) -> Any:
    if value is None:
        if declared.required:
            raise InvalidInput(f"The input {name!r} is missing", hint=declared.description)
        return declared.default
    value = _read(declared.type, value)
    right = isinstance(value, _KINDS[declared.type])
    if not right or (isinstance(value, bool) and declared.type != "boolean"):
        raise InvalidInput(f"The input {name!r} is of type {declared.type}")
    if declared.choices and value not in declared.choices:
        hint = f"One of: {', '.join(map(str, declared.choices))}."
        raise InvalidInput(f"The input {name!r} cannot be that", hint=hint)
    return value


def _read(kind: str, value: Any) -> Any:
    """Read a number or yes and no from text: that is all a sentence or a form gives."""
    if not isinstance(value, str):
        return value
    try:
        match kind:
            case "integer":
                return int(value)
            case "number":
                return float(value)
            case "boolean" if value.casefold() in {"true", "yes", "false", "no"}:
                return value.casefold() in {"true", "yes"}
            case _:
                return value
    except ValueError:
        return value
