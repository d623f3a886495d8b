"""Texts with typed placeholders: parsed once, filled in without evaluating anything."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nebula.errors import InvalidInput

LONGEST = 1_500
"""Characters of a template; a message on Discord has 2,000."""
LONGEST_MESSAGE = 2_000
WELCOME = frozenset({"user", "name", "server", "members", "random"})
COMMAND = frozenset({"user", "name", "server", "args", "count", "random"})

_PLACE = re.compile(r"\{([a-z]+)(?::([^{}]*))?\}")
_MARKUP = re.compile(r"([\\*_~`|>\[\]()#<@:-])")

Choose = Callable[[Sequence[str]], str]


@dataclass(frozen=True)
class Part:
    """A piece of text, or a placeholder with what it may choose from."""

    text: str = ""
    place: str = ""
    options: tuple[str, ...] = ()


def parse(template: str, known: frozenset[str]) -> tuple[Part, ...]:
    """Return the pieces of a template.

    Raises:
        InvalidInput: when it is too long, or names a placeholder that is not known here.
    """
    if len(template) > LONGEST:
        raise InvalidInput(f"A text has at most {LONGEST} characters")
    parts: list[Part] = []
    end = 0
    for found in _PLACE.finditer(template):
        parts.append(Part(template[end : found.start()]))
        parts.append(_place(found[1], found[2], known))
        end = found.end()
    parts.append(Part(template[end:]))
    return tuple(part for part in parts if part.text or part.place)


def filled(parts: Sequence[Part], values: Mapping[str, str], choose: Choose) -> str:
    """Return the text with its places filled in; values are put in as they are, never parsed."""
    said = "".join(_said(part, values, choose) for part in parts)
    return said[:LONGEST_MESSAGE]


def plain(text: str) -> str:
    """Return text of other people so that Discord shows it as it is, without links or mentions."""
    flat = " ".join(text.split())[:500]
    return _MARKUP.sub(r"\\\1", flat)


def _place(name: str, given: str | None, known: frozenset[str]) -> Part:
    if name not in known:
        places = ", ".join(f"{{{each}}}" for each in sorted(known))
        raise InvalidInput(f"There is no placeholder {{{name}}} here", hint=f"There are: {places}.")
    if name != "random":
        if given is not None:
            raise InvalidInput(f"{{{name}}} takes nothing after a colon")
        return Part(place=name)
    options = tuple(each.strip() for each in (given or "").split("|") if each.strip())
    if len(options) < 2:
        raise InvalidInput("{random} chooses between two or more", hint="Write {random:red|blue}.")
    return Part(place=name, options=options)


def _said(part: Part, values: Mapping[str, str], choose: Choose) -> str:
    if not part.place:
        return part.text
    return choose(part.options) if part.options else values[part.place]
