"""Values with `${…}` in them: a whole one keeps its type, one within a text becomes text. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tools.workflows.expressions.functions import as_text
from tools.workflows.expressions.syntax import BadExpression, Node, parse
from tools.workflows.expressions.values import Values, value_of

Loc = tuple[str | int, ...]


@dataclass(frozen=True)
class Found:
    """An expression within a value, where it stands, and whether it is all there."""

    loc: Loc
    text: str
    whole: bool

    @property
    def node(self) -> Node:
        """Return its tree; raises BadExpression."""
        return parse(self.text)


def found_in(value: Any, loc: Loc = ()) -> Iterator[Found]:
    """Yield the expressions of a value.

    Raises:
        BadExpression: when one is not closed.
    """
    match value:
        case str():
            pieces = list(_pieces(value))
            whole = len(pieces) == 1
            for piece in pieces:
                if isinstance(piece, _Inner):
                    yield Found(loc, piece.text, whole)
        case list():
            for at, each in enumerate(value):
                yield from found_in(each, (*loc, at))
        case dict():
            for key, each in value.items():
                yield from found_in(each, (*loc, str(key)))
        case _:
            return


def filled(value: Any, values: Values) -> Any:
    """Return a value with its expressions worked out.

    Raises:
        Failed: when one cannot be.
    """
    match value:
        case str():
            pieces = list(_pieces(value))
            if len(pieces) == 1 and isinstance(pieces[0], _Inner):
                return value_of(parse(pieces[0].text), values)
            return "".join(
                as_text(value_of(parse(piece.text), values)) if isinstance(piece, _Inner) else piece
                for piece in pieces
            )
        case list():
            return [filled(each, values) for each in value]
        case dict():
            return {key: filled(each, values) for key, each in value.items()}
        case _:
            return value


@dataclass(frozen=True)
class _Inner:
    text: str


def _pieces(text: str) -> Iterator["str | _Inner"]:
    """Cut a text at its expressions; `$${` stands for `${` itself."""
    at, plain = 0, ""
    while (begin := text.find("${", at)) >= 0:
        if begin > 0 and text[begin - 1] == "$":
            plain += text[at:begin] + "{"
            at = begin + 2
            continue
        plain += text[at:begin]
        if plain:
            yield plain
        plain = ""
        end = _end(text, begin + 2)
        yield _Inner(text[begin + 2 : end])
        at = end + 1
    if plain + text[at:] or at == 0:
        yield plain + text[at:]


def _end(text: str, begin: int) -> int:
    quote, depth, at = "", 1, begin
    while at < len(text):
        letter = text[at]
        if quote:
            if letter == "\\":
                at += 1
            elif letter == quote:
                quote = ""
        elif letter in "\"'":
            quote = letter
        elif letter == "{":
            depth += 1
        elif letter == "}":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    raise BadExpression("`${` is not closed by `}`")
