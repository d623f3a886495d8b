"""Reads an expression into a tree. There is no way to call anything but the known functions."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tools.workflows.amounts import UNITS

_DEEPEST = 40
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>[0-9]+(?:\.[0-9]+)?)(?:\s*(?P<unit>KiB|MiB|GiB|TiB|KB|MB|GB|TB|min|s|h|d)\b)?
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<mark>\$\{|==|!=|<=|>=|[-+*/%<>()\[\]{},.])
    )""",
    re.VERBOSE | re.ASCII,
)
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None}
_ESCAPED = {"n": "\n", "t": "\t"}
COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">=", "in", "not in"})


class BadExpression(ValueError):
    """An expression that cannot be read, or does not fit what it speaks of."""


@dataclass(frozen=True)
class Literal:
    """A value written out."""

    value: Any


@dataclass(frozen=True)
class Name:
    """One of the roots: inputs, steps, item, …"""

    name: str


@dataclass(frozen=True)
class Member:
    """A field of an object."""

    of: "Node"
    name: str


@dataclass(frozen=True)
class Index:
    """An item of a list, or a field whose name is worked out."""

    of: "Node"
    index: "Node"


@dataclass(frozen=True)
class Listed:
    """A list written out."""

    items: tuple["Node", ...]


@dataclass(frozen=True)
class Unary:
    """`-` or `not`."""

    sign: str
    of: "Node"


@dataclass(frozen=True)
class Binary:
    """Two values and the sign between them."""

    sign: str
    left: "Node"
    right: "Node"


@dataclass(frozen=True)
class Call:
    """A known function."""

    name: str
    arguments: tuple["Node", ...]


Node = Literal | Name | Member | Index | Listed | Unary | Binary | Call


def parse(text: str) -> Node:
    """Return the tree of an expression.

    Raises:
        BadExpression: with what was expected, and where.
    """
    return _Parser(text).whole()


def within(node: Node) -> Iterator[Node]:
    """Yield a node and everything in it."""
    yield node
    match node:
        case Member(of=of) | Unary(of=of):
            yield from within(of)
        case Index(of=of, index=index):
            yield from within(of)
            yield from within(index)
        case Binary(left=left, right=right):
            yield from within(left)
            yield from within(right)
        case Listed(items=parts) | Call(arguments=parts):
            for part in parts:
                yield from within(part)
        case _:
            pass


@dataclass(frozen=True)
class _Token:
    kind: str
    value: Any
    at: int


class _Parser:
    """Recursive descent, one method per strength of binding."""

    def __init__(self, text: str) -> None:
        self._tokens = [*_tokens(text), _Token("end", "the end", len(text))]
        self._at = 0
        self._depth = 0

    def whole(self) -> Node:
        node = self._either()
        if self._now.kind != "end":
            raise self._unexpected("an operator or the end")
        return node

    @property
    def _now(self) -> _Token:
        return self._tokens[self._at]

    def _take(self, *marks: str) -> str | None:
        token = self._now
        if token.kind in {"mark", "name"} and token.value in marks:
            self._at += 1
            return str(token.value)
        return None

    def _expect(self, mark: str) -> None:
        if self._take(mark) is None:
            raise self._unexpected(f"`{mark}`")

    def _unexpected(self, wanted: str) -> BadExpression:
        token = self._now
        return BadExpression(f"{wanted} is expected at character {token.at + 1}, not {token.value}")

    def _either(self) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise BadExpression("it is nested too deeply")
        node = self._both()
        while self._take("or"):
            node = Binary("or", node, self._both())
        self._depth -= 1
        return node

    def _both(self) -> Node:
        node = self._negated()
        while self._take("and"):
            node = Binary("and", node, self._negated())
        return node

    def _negated(self) -> Node:
        signs = 0
        while self._take("not"):
            signs += 1
        node = self._compared()
        return Unary("not", node) if signs % 2 else node

    def _compared(self) -> Node:
        node = self._sum()
        sign = self._take("==", "!=", "<", "<=", ">", ">=", "in")
        if sign is None and self._now.value == "not" and self._tokens[self._at + 1].value == "in":
            self._at += 2
            sign = "not in"
        if sign is None:
            return node
        compared = Binary(sign, node, self._sum())
        if self._now.value in COMPARISONS:
            raise BadExpression("comparisons are joined by `and`: a < b and b < c")
        return compared

    def _sum(self) -> Node:
        node = self._product()
        while sign := self._take("+", "-"):
            node = Binary(sign, node, self._product())
        return node

    def _product(self) -> Node:
        node = self._signed()
        while sign := self._take("*", "/", "%"):
            node = Binary(sign, node, self._signed())
        return node

    def _signed(self) -> Node:
        negative = False
        while self._take("-"):
            negative = not negative
        node = self._reached()
        return Unary("-", node) if negative else node

    def _reached(self) -> Node:
        node = self._single()
        while True:
            if self._take("."):
                if self._now.kind != "name":
                    raise self._unexpected("the name of a field")
                node = Member(node, str(self._now.value))
                self._at += 1
            elif self._take("["):
                node = Index(node, self._either())
                self._expect("]")
            else:
                return node

    def _single(self) -> Node:
        token = self._now
        if token.kind in {"number", "text"}:
            self._at += 1
            return Literal(token.value)
        for opening, closing in (("(", ")"), ("${", "}")):
            if self._take(opening):
                node = self._either()
                self._expect(closing)
                return node
        if self._take("["):
            return Listed(self._several("]"))
        if token.kind != "name" or token.value in {"and", "or", "not", "in"}:
            raise self._unexpected("a value")
        self._at += 1
        if token.value in _WORDS:
            return Literal(_WORDS[token.value])
        if self._take("("):
            return Call(str(token.value), self._several(")"))
        return Name(str(token.value))

    def _several(self, closing: str) -> tuple[Node, ...]:
        found: list[Node] = []
        while not self._take(closing):
            if found:
                self._expect(",")
            found.append(self._either())
        return tuple(found)


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if found is None:
            rest = text[at:].strip()
            raise BadExpression(f"{rest[:1]!r} at character {at + 1} is no part of an expression")
        kind = str(found.lastgroup if found.lastgroup != "unit" else "number")
        begin = found.start(kind)
        yield _Token(kind, _value(kind, found), begin)
        at = found.end()


def _value(kind: str, found: re.Match[str]) -> Any:
    if kind == "number":
        number: float = float(found["number"]) if "." in found["number"] else int(found["number"])
        if found["unit"]:
            number *= UNITS[found["unit"]]
        return int(number) if float(number).is_integer() and abs(number) < 2**53 else number
    if kind == "text":
        inside = found["text"][1:-1]
        return re.sub(
            r"\\(.)", lambda each: _ESCAPED.get(each[1], each[1]), inside, flags=re.DOTALL
        )
    return found[kind]
