"""What values a tool's parameter takes, and how people say them."""

import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from nebula.tool.definition import AnyTool

Kind = Literal["choice", "flag", "whole", "number", "list", "object", "text"]

SlotValue = str | tuple[str, str]
"""A value, or (how people say it, value)."""

SlotValues = Mapping[str, Callable[[], Sequence[SlotValue]]]
"""By parameter name, what is known at this moment: services, nodes, channels."""

_FAR = 1_000_000_000
_PREFIX = re.compile(r"\^([a-z]{2,8}_)\[")
_SAID = {
    True: ("on", "yes", "true", "enabled", "enable"),
    False: ("off", "no", "false", "disabled"),
}


@dataclass(frozen=True)
class Slot:
    """One parameter as a slot of sentences."""

    name: str
    description: str
    required: bool
    kind: Kind
    choices: tuple[tuple[str, str], ...] = ()
    low: int = -_FAR
    high: int = _FAR
    prefix: str = ""
    """What its ids begin with ("job_"): the sentence "cancel job 9" names the job job_9."""

    @property
    def spoken(self) -> str:
        """Return the parameter's name as people say it."""
        return self.name.replace("_", " ")


def slots_of(tool: AnyTool) -> dict[str, Slot]:
    """Return the slots of a tool's parameters, in their order."""
    fields = tool.input_model.model_fields
    return {name: _slot(name, field) for name, field in fields.items()}


def says_of(values: Sequence[SlotValue]) -> list[tuple[str, str]]:
    """Return every (spoken form, value) of known values: dashes may be said as spaces."""
    found: dict[str, str] = {}
    for entry in values:
        said, value = entry if isinstance(entry, tuple) else (entry, entry)
        for form in (said, value, _apart(said), _apart(value)):
            found.setdefault(form, value)
    return [(said, value) for said, value in found.items() if said.strip()]


def resolve(said: str, known: Sequence[tuple[str, str]]) -> str | None:
    """Return the one known value that was meant, forgiving case, spaces and dashes."""
    wanted = _together(said)
    return next((value for form, value in known if _together(form) == wanted), None)


def _slot(name: str, field: FieldInfo) -> Slot:
    kind, choices, bounds = _kind(field.annotation, list(field.metadata))
    return Slot(
        name=name,
        description=field.description or "",
        required=field.is_required(),
        kind=kind,
        choices=choices,
        low=bounds[0],
        high=bounds[1],
        prefix=next(filter(None, map(_prefix, field.metadata)), ""),
    )


def _prefix(limit: object) -> str:
    """Read the beginning of ids from the pattern that they have to fit."""
    found = _PREFIX.match(str(getattr(limit, "pattern", None) or ""))
    return found[1] if found else ""


_KINDS: tuple[tuple[Kind, tuple[type, ...]], ...] = (
    ("number", (float,)),
    ("list", (list, tuple, set, frozenset)),
    ("object", (dict, BaseModel)),
)

_Found = tuple[Kind, tuple[tuple[str, str], ...], tuple[int, int]]


def _kind(annotation: Any, metadata: list[Any]) -> _Found:
    """Read a slot's kind, choices and bounds from a type annotation."""
    origin, whole = get_origin(annotation), (-_FAR, _FAR)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return _kind(inner, [*metadata, *more])
    if origin in (Union, types.UnionType):
        # The first alternative that says most; None only says "may be left out".
        options = [arg for arg in get_args(annotation) if arg is not type(None)]
        found = [_kind(option, metadata) for option in options]
        return next((each for each in found if each[0] != "text"), ("text", (), whole))
    if origin is Literal:
        return "choice", _forms(str(value) for value in get_args(annotation)), whole
    outer = origin or annotation
    return _kind_of_type(outer, metadata) if isinstance(outer, type) else ("text", (), whole)


def _kind_of_type(annotation: type, metadata: list[Any]) -> _Found:
    whole = (-_FAR, _FAR)
    if issubclass(annotation, bool):
        said = tuple((form, str(value).lower()) for value, forms in _SAID.items() for form in forms)
        return "flag", said, whole
    if issubclass(annotation, Enum):
        return "choice", _forms(str(member.value) for member in annotation), whole
    if issubclass(annotation, int):
        return "whole", (), _bounds(metadata)
    return (
        next((kind for kind, kinds in _KINDS if issubclass(annotation, kinds)), "text"),
        (),
        whole,
    )


def _bounds(metadata: list[Any]) -> tuple[int, int]:
    low, high = -_FAR, _FAR
    for limit in metadata:
        if isinstance(limit, Ge):
            low = int(limit.ge)  # type: ignore[call-overload]
        elif isinstance(limit, Gt):
            low = int(limit.gt) + 1  # type: ignore[call-overload]
        elif isinstance(limit, Le):
            high = int(limit.le)  # type: ignore[call-overload]
        elif isinstance(limit, Lt):
            high = int(limit.lt) - 1  # type: ignore[call-overload]
    return low, high


def _forms(values: Any) -> tuple[tuple[str, str], ...]:
    return tuple(says_of(list(values)))


def _apart(text: str) -> str:
    return " ".join(re.split(r"[\s_-]+", text)).strip()


def _together(text: str) -> str:
    return re.sub(r"[\s_-]+", "", text.rstrip(" .!?,;")).casefold().removeprefix("the")
