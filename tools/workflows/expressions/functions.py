"""The functions that expressions may use: pure, bounded, and typed."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tools.workflows.expressions.types import (
    ANY,
    BOOLEAN,
    INTEGER,
    NUMBER,
    TEXT,
    Type,
    joined,
    list_of,
)

MOST = 10_000
"""Items of a list that is worked out."""
LONGEST = 100_000
"""Characters of a text that is worked out."""

_LIST = Type("list")
_OBJECT = Type("object")


class Failed(ValueError):
    """An expression that cannot be worked out with the values that there are."""


@dataclass(frozen=True)
class Function:
    """What a function takes, gives and does."""

    takes: tuple[tuple[Type, ...], ...]
    """For each argument, the types it may have."""
    gives: Callable[[Sequence[Type]], Type]
    does: Callable[..., Any]
    fewest: int

    @property
    def most(self) -> int:
        """Return how many arguments it takes at most."""
        return len(self.takes)


def _fn(
    does: Callable[..., Any],
    gives: Type | Callable[[Sequence[Type]], Type],
    *takes: Type | tuple[Type, ...],
    fewest: int | None = None,
) -> Function:
    several = tuple(each if isinstance(each, tuple) else (each,) for each in takes)
    given = (lambda _types: gives) if isinstance(gives, Type) else gives
    return Function(several, given, does, len(several) if fewest is None else fewest)


def _item(types: Sequence[Type]) -> Type:
    return types[0].item or ANY


def _same(types: Sequence[Type]) -> Type:
    return types[0]


def _default(types: Sequence[Type]) -> Type:
    return joined(types)


def _either(types: Sequence[Type]) -> Type:
    return joined(types[1:])


def as_text(value: Any) -> str:
    """Write a value within a text: texts as they are, the rest as JSON, whole numbers plainly."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _join(items: Sequence[Any], between: str = ", ") -> str:
    texts = [as_text(each) for each in items]
    _room(sum(map(len, texts)) + len(between) * len(texts))
    return between.join(texts)


def _replace(text: str, old: str, new: str) -> str:
    if not old:
        return text
    _room(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


def _room(length: int) -> None:
    """Refuse a text that would grow too long, before it is made."""
    if length > LONGEST:
        raise Failed(f"the text would be longer than {LONGEST} characters")


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise Failed("yes or no is no number")
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise Failed(f"{str(value)[:60]!r} is no number") from error
    if not math.isfinite(number):
        raise Failed(f"{str(value)[:60]!r} is no number")
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _round(value: float, digits: int = 0) -> float:
    if not 0 <= digits <= 10:
        raise Failed("round keeps 0 to 10 digits")
    return round(value, digits) if digits else round(value)


def _contains(whole: Any, part: Any) -> bool:
    if isinstance(whole, str):
        return isinstance(part, str) and part in whole
    return part in whole


def _field(item: Any, name: str) -> Any:
    if not isinstance(item, Mapping):
        raise Failed(f"an item has no field {name!r}")
    return item.get(name)


def _some(items: Sequence[Any]) -> Sequence[Any]:
    if not items:
        raise Failed("the list is empty")
    return items


def _numbers(items: Sequence[Any]) -> Sequence[float]:
    return [_number(each) for each in items]


def _unique(items: Sequence[Any]) -> list[Any]:
    found: dict[str, Any] = {}
    for each in items:
        found.setdefault(json.dumps(each, sort_keys=True), each)
    return list(found.values())


def _sorted(items: Sequence[Any], field: str | None = None) -> list[Any]:
    keys = [each if field is None else _field(each, field) for each in items]
    if not (
        all(isinstance(key, str) for key in keys)
        or all(isinstance(key, int | float) for key in keys)
    ):
        raise Failed("only numbers or only texts can be sorted")
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return [items[at] for at in order]


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise Failed(f"{text[:40]!r} is no moment") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _between(early: str, late: str) -> float:
    return (_moment(late) - _moment(early)).total_seconds()


FUNCTIONS: Mapping[str, Function] = {
    "len": _fn(len, INTEGER, (_LIST, TEXT, _OBJECT)),
    "default": _fn(lambda value, other: other if value is None else value, _default, ANY, ANY),
    "choose": _fn(lambda which, yes, no: yes if which else no, _either, BOOLEAN, ANY, ANY),
    "join": _fn(_join, TEXT, _LIST, TEXT, fewest=1),
    "split": _fn(lambda text, by: text.split(by or None), list_of(TEXT), TEXT, TEXT),
    "lines": _fn(str.splitlines, list_of(TEXT), TEXT),
    "contains": _fn(_contains, BOOLEAN, (TEXT, _LIST), ANY),
    "starts_with": _fn(str.startswith, BOOLEAN, TEXT, TEXT),
    "ends_with": _fn(str.endswith, BOOLEAN, TEXT, TEXT),
    "lower": _fn(str.lower, TEXT, TEXT),
    "upper": _fn(str.upper, TEXT, TEXT),
    "trim": _fn(str.strip, TEXT, TEXT),
    "replace": _fn(_replace, TEXT, TEXT, TEXT, TEXT),
    "text": _fn(as_text, TEXT, ANY),
    "number": _fn(_number, NUMBER, (TEXT, NUMBER)),
    "round": _fn(
        _round, lambda types: NUMBER if len(types) > 1 else INTEGER, NUMBER, INTEGER, fewest=1
    ),
    "abs": _fn(abs, _same, NUMBER),
    "min": _fn(lambda items: min(_some(_numbers(items))), NUMBER, _LIST),
    "max": _fn(lambda items: max(_some(_numbers(items))), NUMBER, _LIST),
    "sum": _fn(lambda items: sum(_numbers(items)), NUMBER, _LIST),
    "first": _fn(lambda items: items[0] if items else None, _item, _LIST),
    "last": _fn(lambda items: items[-1] if items else None, _item, _LIST),
    "take": _fn(lambda items, most: items[: max(most, 0)], _same, (_LIST, TEXT), INTEGER),
    "unique": _fn(_unique, _same, _LIST),
    "sort": _fn(_sorted, _same, _LIST, TEXT, fewest=1),
    "reverse": _fn(lambda items: items[::-1], _same, _LIST),
    "keys": _fn(sorted, list_of(TEXT), _OBJECT),
    "pluck": _fn(lambda items, name: [_field(each, name) for each in items], _LIST, _LIST, TEXT),
    "where": _fn(
        lambda items, name, value: [each for each in items if _field(each, name) == value],
        _same,
        *(_LIST, TEXT, ANY),
    ),
    "without": _fn(
        lambda items, name, value: [each for each in items if _field(each, name) != value],
        _same,
        *(_LIST, TEXT, ANY),
    ),
    "any": _fn(any, BOOLEAN, _LIST),
    "all": _fn(all, BOOLEAN, _LIST),
    "seconds_between": _fn(_between, NUMBER, TEXT, TEXT),
}
