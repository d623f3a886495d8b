"""Finds out what an expression gives, and everything in it that cannot be. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nebula.near import near
from tools.workflows.expressions.functions import FUNCTIONS
from tools.workflows.expressions.syntax import (
    BadExpression,
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
from tools.workflows.expressions.types import (
    ANY,
    BOOLEAN,
    INTEGER,
    NUMBER,
    TEXT,
    Type,
    fits,
    joined,
    list_of,
    of_value,
)

_FIELD_FUNCTIONS = {"pluck": 1, "where": 1, "without": 1, "sort": 1}


@dataclass(frozen=True)
class Scope:
    """What an expression may speak of at its place."""

    roots: Mapping[str, Type]
    no_step: Callable[[str], str]
    """Says why a step's name means nothing here."""


def type_of(node: Node, scope: Scope) -> Type:
    """Return what an expression gives.

    Raises:
        BadExpression: for an unknown name, field or function, and for types that do not meet.
    """
    match node:
        case Literal(value=value):
            return of_value(value)
        case Name(name=name):
            return _root(name, scope)
        case Member(of=of, name=name):
            found = type_of(of, scope)
            if of == Name("steps") and name not in (found.fields or {}):
                raise BadExpression(scope.no_step(name))
            return _field(found, name)
        case Index(of=of, index=index):
            return _indexed(type_of(of, scope), type_of(index, scope), index)
        case Listed(items=items):
            return list_of(joined([type_of(each, scope) for each in items]))
        case Unary():
            return _unary(node, scope)
        case Binary():
            return _binary(node, scope)
        case Call():
            return _called(node, scope)


def _root(name: str, scope: Scope) -> Type:
    if name not in scope.roots:
        raise BadExpression(_unknown(f"there is no {name!r} here", name, scope.roots))
    return scope.roots[name]


def _unary(node: Unary, scope: Scope) -> Type:
    found = type_of(node.of, scope)
    _want(found, BOOLEAN if node.sign == "not" else NUMBER, f"`{node.sign}`")
    return BOOLEAN if node.sign == "not" else found


def _field(of: Type, name: str) -> Type:
    if of.kind == "any":
        return ANY
    if of.kind != "object":
        more = "; take one item with [0], or a field of all with pluck" if of.kind == "list" else ""
        raise BadExpression(f"{of} has no field {name!r}{more}")
    if of.fields is None:
        return of.item or ANY
    if name not in of.fields:
        # The commonest slip: a step's result is named `result`.
        inner = of.fields.get("result")
        if inner is not None and inner.kind == "object" and name in (inner.fields or {}):
            raise BadExpression(f"there is no field {name!r}. Did you mean result.{name}?")
        raise BadExpression(_unknown(f"there is no field {name!r}", name, of.fields))
    return of.fields[name]


def _indexed(of: Type, by: Type, index: Node) -> Type:
    if of.kind == "list":
        _want(by, INTEGER, "the place in a list")
        return of.item or ANY
    if of.kind == "object":
        _want(by, TEXT, "the name of a field")
        if isinstance(index, Literal):
            return _field(of, str(index.value))
        return of.item or ANY
    if of.kind != "any":
        raise BadExpression(f"{of} has no items")
    return ANY


def _binary(node: Binary, scope: Scope) -> Type:
    left, right = type_of(node.left, scope), type_of(node.right, scope)
    said = f"`{node.sign}`"
    match node.sign:
        case "and" | "or":
            _want(left, BOOLEAN, said)
            _want(right, BOOLEAN, said)
            return BOOLEAN
        case "in" | "not in":
            _looked_for(left, right, said)
            return BOOLEAN
        case "==" | "!=":
            _comparable(left, right)
            return BOOLEAN
        case "<" | "<=" | ">" | ">=":
            _comparable(left, right)
            if {left.kind, right.kind} & {"boolean", "list", "object", "null"}:
                raise BadExpression(f"{said} compares numbers or texts, not {left} with {right}")
            return BOOLEAN
        case "+" if {"text", "list"} & {left.kind, right.kind}:
            wanted = TEXT if "text" in {left.kind, right.kind} else Type("list")
            _want(left, wanted, said)
            _want(right, wanted, said)
            return TEXT if wanted is TEXT else joined([left, right])
        case _:
            _want(left, NUMBER, said)
            _want(right, NUMBER, said)
            whole = left.kind == right.kind == "integer" and node.sign != "/"
            return INTEGER if whole else NUMBER


def _looked_for(part: Type, whole: Type, said: str) -> None:
    if whole.kind == "text":
        _want(part, TEXT, said)
    elif whole.kind == "list" and whole.item is not None:
        _comparable(part, whole.item)
    elif whole.kind not in {"list", "object", "any"}:
        raise BadExpression(f"{said} looks in a list or a text, not in {whole}")


def _comparable(left: Type, right: Type) -> None:
    if not (fits(left, right) or fits(right, left)):
        for one, other in ((left, right), (right, left)):
            if one.kind == other.kind and len(one.choices) == 1 and other.choices:
                never = f"it is never {one.choices[0]!r}"
                raise BadExpression(_unknown(never, str(one.choices[0]), other.choices))
        raise BadExpression(f"{left} is compared with {right}")


def _called(node: Call, scope: Scope) -> Type:
    function = FUNCTIONS.get(node.name)
    if function is None:
        said = f"there is no function {node.name!r}"
        raise BadExpression(_unknown(said, node.name, FUNCTIONS))
    given = [type_of(each, scope) for each in node.arguments]
    if not function.fewest <= len(given) <= function.most:
        many = {function.fewest, function.most}
        raise BadExpression(f"{node.name} takes {' or '.join(map(str, sorted(many)))} values")
    for at, (found, wanted) in enumerate(zip(given, function.takes, strict=False), start=1):
        if not any(fits(found, each) for each in wanted):
            names = " or ".join(str(each) for each in wanted)
            raise BadExpression(f"value {at} of {node.name} is {names}, not {found}")
    if node.name in _FIELD_FUNCTIONS and len(node.arguments) > 1:
        return _of_fields(node, given)
    return function.gives(given)


def _of_fields(node: Call, given: list[Type]) -> Type:
    """Look at the field that pluck, where and sort name, when it is written out."""
    name = node.arguments[1]
    item = given[0].item or ANY
    found = _field(item, str(name.value)) if isinstance(name, Literal) else ANY
    if len(given) > 2:
        _comparable(found, given[2])
    return list_of(found) if node.name == "pluck" else given[0]


def _want(found: Type, wanted: Type, what: str) -> None:
    if not fits(found, wanted):
        raise BadExpression(f"{what} wants {wanted}, not {found}")


def _unknown(said: str, name: str, known: Iterable[Any]) -> str:
    hint = near(name, known)
    return f"{said}. {hint}" if hint else said
