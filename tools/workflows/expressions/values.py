"""Works expressions out, with the values of a run. Pure."""

import math
from collections.abc import Mapping
from typing import Any

from tools.workflows.expressions.functions import FUNCTIONS, LONGEST, MOST, Failed
from tools.workflows.expressions.syntax import (
    Binary,
    Call,
    Index,
    Listed,
    Literal,
    Member,
    Name,
    Node,
    Unary,
)

Values = Mapping[str, Any]


def value_of(node: Node, values: Values) -> Any:
    """Work an expression out.

    Raises:
        Failed: when a value is missing or is not what was expected.
    """
    match node:
        case Literal(value=value):
            return value
        case Name(name=name):
            return values.get(name)
        case Member(of=of, name=name):
            return _field(value_of(of, values), name)
        case Index(of=of, index=index):
            return _indexed(value_of(of, values), value_of(index, values))
        case Listed(items=items):
            return [value_of(each, values) for each in items]
        case Unary(sign=sign, of=of):
            found = value_of(of, values)
            return not truth(found) if sign == "not" else -_number(found)
        case Binary():
            return _combined(node, values)
        case Call():
            return _called(node, values)


def truth(value: Any) -> bool:
    """Return a condition's answer; only yes and no are one, and nothing is no."""
    if isinstance(value, bool) or value is None:
        return bool(value)
    raise Failed(f"{_said(value)} is neither true nor false")


def _combined(node: Binary, values: Values) -> Any:
    left = value_of(node.left, values)
    if node.sign in {"and", "or"}:
        # The second half is looked at only where it decides.
        decided = truth(left) is (node.sign == "or")
        return truth(left) if decided else truth(value_of(node.right, values))
    return _bounded(_worked(node.sign, left, value_of(node.right, values)))


def _field(of: Any, name: str) -> Any:
    if of is None:
        return None  # of a step that was left out
    if not isinstance(of, Mapping):
        raise Failed(f"{_said(of)} has no field {name!r}")
    return of.get(name)


def _indexed(of: Any, by: Any) -> Any:
    if of is None:
        return None
    if isinstance(of, Mapping):
        return of.get(by) if isinstance(by, str) else None
    if not isinstance(of, list) or not isinstance(by, int) or isinstance(by, bool):
        raise Failed(f"{_said(of)} has no item {_said(by)}")
    if not -len(of) <= by < len(of):
        raise Failed(f"there is no item {by} in a list of {len(of)}")
    return of[by]


def _worked(sign: str, left: Any, right: Any) -> Any:
    match sign:
        case "==":
            return _equal(left, right)
        case "!=":
            return not _equal(left, right)
        case "in" | "not in":
            return _holds(right, left) is (sign == "in")
        case "<" | "<=" | ">" | ">=":
            return _ordered(sign, left, right)
        case "+" if isinstance(left, str) and isinstance(right, str):
            return left + right
        case "+" if isinstance(left, list) and isinstance(right, list):
            return left + right
        case _:
            return _arithmetic(sign, _number(left), _number(right))


def _arithmetic(sign: str, left: float, right: float) -> float:
    if sign in {"/", "%"} and right == 0:
        raise Failed("nothing can be divided by zero")
    found = {
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: left * right,
        "/": lambda: left / right,
        "%": lambda: left % right,
    }[sign]()
    if abs(found) > 1e300 or (isinstance(found, float) and not math.isfinite(found)):
        raise Failed("the number is too large")
    return found


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, bool) is not isinstance(right, bool):
        return False
    return bool(left == right)


def _holds(whole: Any, part: Any) -> bool:
    if whole is None:
        return False
    if isinstance(whole, str):
        return isinstance(part, str) and part in whole
    if isinstance(whole, list):
        return any(_equal(each, part) for each in whole)
    if isinstance(whole, Mapping):
        return part in whole
    raise Failed(f"{_said(whole)} holds nothing")


def _ordered(sign: str, left: Any, right: Any) -> bool:
    if not (isinstance(left, str) and isinstance(right, str)):
        left, right = _number(left), _number(right)
    match sign:
        case "<":
            return bool(left < right)
        case "<=":
            return bool(left <= right)
        case ">":
            return bool(left > right)
        case _:
            return bool(left >= right)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Failed(f"{_said(value)} is no number")
    return value


def _called(node: Call, values: Values) -> Any:
    function = FUNCTIONS[node.name]
    given = [value_of(each, values) for each in node.arguments]
    for at, (value, wanted) in enumerate(zip(given, function.takes, strict=False), start=1):
        if not any(_is(value, each.kind) for each in wanted):
            raise Failed(f"value {at} of {node.name} cannot be {_said(value)}")
    return _bounded(function.does(*given))


def _is(value: Any, kind: str) -> bool:
    match kind:
        case "any":
            return True
        case "list":
            return isinstance(value, list)
        case "object":
            return isinstance(value, Mapping)
        case "text":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case _:
            return isinstance(value, int | float) and not isinstance(value, bool)


def _bounded(value: Any) -> Any:
    if isinstance(value, str) and len(value) > LONGEST:
        raise Failed(f"the text is longer than {LONGEST} characters")
    if isinstance(value, list) and len(value) > MOST:
        raise Failed(f"the list is longer than {MOST} items")
    return value


def _said(value: Any) -> str:
    """Name a value for a person, without its content: that may be anybody's text."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"{value:g}"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "an object"
