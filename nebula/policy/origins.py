"""Where the values of a call come from, and when two values are the same. Pure.

A value is compared as what it is: an address by its parts, a number as a number, a name by what it
stands for. Nothing is found inside something else.
"""

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

from nebula.addresses import Target, parse_target
from nebula.errors import NebulaError
from nebula.policy.names import Names, apart
from nebula.policy.selectors import Kind, Origin
from nebula.policy.words import Said, folded, holds

_NAMED = frozenset({Kind.SERVICE, Kind.NODE, Kind.MODEL, Kind.PERSON, Kind.CHANNEL})
_NUMERAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?", re.ASCII)
_BARE_HOST = re.compile(
    r"[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}(?:[/?].*)?", re.ASCII | re.IGNORECASE
)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.ASCII | re.IGNORECASE)
_WORST_FIRST = (Origin.UNKNOWN, Origin.ENDORSED, Origin.REGISTRY, Origin.WORDS, Origin.DEFAULT)


def origin_of(value: Any, kind: Kind, said: Said, names: Names, *, parameter: str = "") -> Origin:
    """Return where a value comes from: the person's words, a register, or nobody knows.

    `parameter` is the argument's name: saying it vouches for switching it on.
    """
    if isinstance(value, list | tuple):
        found = [origin_of(each, kind, said, names, parameter=parameter) for each in value]
        return min(found, key=_WORST_FIRST.index, default=Origin.UNKNOWN)
    if _in_words(value, kind, said, names, parameter):
        return Origin.WORDS
    if kind in _NAMED and isinstance(value, str):
        means = names.meaning(kind, value)
        if means is not None and (kind, means) in names.own:
            return Origin.REGISTRY
    return Origin.UNKNOWN


def same(kind: Kind, one: Any, other: Any, names: Names) -> bool:
    """Say whether two values are the same value of a kind."""
    return typed(kind, one, names) == typed(kind, other, names)


def typed(kind: Kind, value: Any, names: Names) -> object:
    """Return a value in the form in which values of its kind are compared; types never mix."""
    if isinstance(value, list | tuple):
        return ("list", *sorted((typed(kind, each, names) for each in value), key=repr))
    if not isinstance(value, str):
        # 1, 1.0 and True are equal in Python, and are different values here.
        return (type(value).__name__, repr(value))
    if kind in _NAMED and (means := names.meaning(kind, value)) is not None:
        return ("name", means)
    if kind in {Kind.URL, Kind.PLACE} and (address := address_of(value)) is not None:
        return ("address", address)
    if kind in {Kind.PATH, Kind.PLACE} and (path := path_of(value)) is not None:
        return ("path", path)
    if kind is Kind.WORDS:
        return ("words", folded(value))
    return ("text", value)


def address_of(text: str) -> tuple[str, str, int, bytes] | None:
    """Return scheme, host (as DNS asks for it), port, and path with query; None when it is none."""
    target = _target(text)
    return None if target is None else _parts(target)


def path_of(text: str) -> str | None:
    """Return a path without `.` and doubled slashes; None for one that climbs or hides something."""
    plain = unquote(text)
    if _SCHEME.match(text) or not plain.isprintable() or not plain.strip():
        return None
    parts = plain.replace("\\", "/").split("/")
    if ".." in parts:
        return None
    root = "/" if plain.startswith(("/", "\\")) else ""
    return root + "/".join(
        part for part in text.replace("\\", "/").split("/") if part not in {"", "."}
    )


def _in_words(value: Any, kind: Kind, said: Said, names: Names, parameter: str) -> bool:
    if isinstance(value, bool):
        return value and _says(said, folded(parameter.replace("_", " ")))
    if isinstance(value, int | float):
        return kind in {Kind.NUMBER, Kind.CHOICE} and _number_in(
            Decimal(str(value)), said.tokens, whole=isinstance(value, int)
        )
    if not isinstance(value, str) or not value.strip():
        return False
    if kind is Kind.URL or (kind in {Kind.PLACE, Kind.MODEL} and _SCHEME.match(value)):
        return _address_in(value, said.tokens)
    if kind in {Kind.PLACE, Kind.PATH}:
        return _path_in(value, said)
    if kind is Kind.ID:
        return value in said.tokens
    return _text_in(value, kind, said, names)


def _text_in(value: str, kind: Kind, said: Said, names: Names) -> bool:
    if kind is Kind.NUMBER:
        return False
    if kind in _NAMED and _name_in(value, kind, said, names):
        return True
    return _says(said, folded(value.replace("_", " ") if kind is Kind.CHOICE else value))


def _says(said: Said, wanted: tuple[str, ...]) -> bool:
    return any(holds(tuple(token.casefold() for token in run), wanted) for run in said.runs)


def _name_in(value: str, kind: Kind, said: Said, names: Names) -> bool:
    means = names.meaning(kind, value)
    if means is None:
        return False
    wanted = set(names.forms(kind, means))
    return any(_covers([apart(token) for token in run], wanted) for run in said.runs)


def _covers(run: Sequence[tuple[str, ...]], wanted: Iterable[tuple[str, ...]]) -> bool:
    """Say whether whole tokens side by side make up one of the names."""
    forms = {form for form in wanted if form}
    longest = max((len(form) for form in forms), default=0)
    for at in range(len(run)):
        together: tuple[str, ...] = ()
        for token in run[at:]:
            together += token
            if together in forms:
                return True
            if len(together) >= longest:
                break
    return False


def _number_in(wanted: Decimal, tokens: Iterable[str], *, whole: bool) -> bool:
    """A whole number is vouched for by a whole number only; a fraction by any equal numeral."""
    return any(
        _NUMERAL.fullmatch(token) and Decimal(token) == wanted and not (whole and "." in token)
        for token in tokens
    )


def _address_in(value: str, tokens: Iterable[str]) -> bool:
    wanted = address_of(value)
    return wanted is not None and any(wanted in _addresses(token) for token in tokens)


def _addresses(token: str) -> list[tuple[str, str, int, bytes]]:
    """Return what a token may mean: people leave the scheme out."""
    if _SCHEME.match(token):
        return [address] if (address := address_of(token)) else []
    if not _BARE_HOST.fullmatch(token):
        return []
    found = (address_of(f"{scheme}://{token}") for scheme in ("https", "http"))
    return [address for address in found if address]


def _path_in(value: str, said: Said) -> bool:
    wanted = path_of(value)
    if wanted is None:
        return False
    if any(path_of(token) == wanted for token in said.tokens):
        return True
    parts = tuple(wanted.split(" "))
    return len(parts) > 1 and any(holds(run, parts) for run in said.runs)


def _target(text: str) -> Target | None:
    try:
        return parse_target(text, any_port=True)
    except NebulaError:
        return None


def _parts(target: Target) -> tuple[str, str, int, bytes]:
    return (target.url.scheme, target.host, target.port, target.url.raw_path)
