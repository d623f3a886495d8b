"""Every text in a tool's arguments, and whether a reference to a secret may stand there."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

if TYPE_CHECKING:
    from nebula.tool.definition import AnyTool


@dataclass(frozen=True)
class TakesSecret:
    """Marks a text parameter in which a reference to a secret may stand: `Annotated[str, …]`.

    A parameter of type SecretStr is one without the mark; a job cannot keep that type, but it can
    keep a reference in a marked one.
    """


@dataclass(frozen=True)
class PassesSecret:
    """Marks a parameter that holds another call's arguments: references in it are that call's."""


@dataclass(frozen=True)
class Spot:
    """A place in the arguments of a call."""

    path: str
    takes: bool
    """A reference may stand here."""
    masked: bool = False
    """A secret may stand here in plain: it is a SecretStr, which no record shows."""
    passes: bool = False
    """References here are looked at when the call is made that they are for."""

    def at(self, part: object) -> "Spot":
        """Return the place one step further inside."""
        return dataclasses.replace(self, path=f"{self.path}.{part}")


Change = Callable[[str, Spot], str]


def changed(values: BaseModel, change: Change) -> BaseModel:
    """Return arguments whose texts went through `change`; the same object when none changed."""
    return _model(values, change, "")


def takers(tool: "AnyTool") -> list[str]:
    """Name the parameters of a tool in which a reference may stand."""
    fields = tool.input_model.model_fields.items()
    return [name for name, field in fields if _takes(field) or _inside(field.annotation)]


def _model(model: BaseModel, change: Change, path: str) -> BaseModel:
    update = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        passes = any(isinstance(mark, PassesSecret) for mark in field.metadata)
        spot = Spot(f"{path}.{name}" if path else name, _takes(field), passes=passes)
        new = _value(value, change, spot)
        if new is not value:
            update[name] = new
    return model.model_copy(update=update) if update else model


def _value(value: Any, change: Change, spot: Spot) -> Any:
    if isinstance(value, SecretStr):
        plain = value.get_secret_value()
        new = change(plain, Spot(spot.path, takes=True, masked=True))
        return value if new == plain else SecretStr(new)
    if isinstance(value, str) and not isinstance(value, Enum):
        return change(value, spot)
    if isinstance(value, BaseModel):
        return _model(value, change, spot.path)
    if isinstance(value, Mapping):
        key = dataclasses.replace(spot, takes=False)
        pairs = {
            _value(k, change, key.at(k)): _value(v, change, spot.at(k)) for k, v in value.items()
        }
        return value if pairs == value else pairs
    if isinstance(value, list | tuple | set | frozenset):
        items = [_value(item, change, spot.at(at)) for at, item in enumerate(value)]
        same = all(a is b for a, b in zip(items, value, strict=True))
        return value if same else type(value)(items)
    return value


def _takes(field: FieldInfo) -> bool:
    return any(isinstance(mark, TakesSecret) for mark in field.metadata) or _marked(
        field.annotation
    )


def _marked(annotation: object) -> bool:
    """Look for the mark, or for a masked text, anywhere in an annotation."""
    marks = getattr(annotation, "__metadata__", ())
    if annotation is SecretStr or any(isinstance(mark, TakesSecret) for mark in marks):
        return True
    return any(_marked(part) for part in get_args(annotation))


def _inside(annotation: object) -> bool:
    """Look for such a field in the models that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return any(_takes(f) or _inside(f.annotation) for f in annotation.model_fields.values())
    return any(_inside(part) for part in get_args(annotation))
