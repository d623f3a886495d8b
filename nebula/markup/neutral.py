"""Makes Markdown of unknown origin harmless: whoever draws it asks no other host for anything.

Every construct that could is broken with a backslash in the source, wherever it stands, and
mended only where a CommonMark parser says that it is code. Two parsers may disagree about what
is code (tables, bare addresses), so it has to be code in every reading. What is not understood
stays broken. See docs/decisions/0090-markdown-is-broken-first-and-mended-in-code.md
"""

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from nebula.markup.address import is_own, may_click, tells_the_truth
from nebula.markup.text import prose

_FIRST: Final = 0xF0000
_MARKS: Final = 60_000
_MARK = re.compile("[\U000f0000-\U000fea60]")
_LONGEST: Final = 60_000
"""Characters; in a longer text nothing is mended."""
_ROUNDS: Final = 3

_HOST = r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*(?::[0-9]+)?"
_REST = r"[^\s<>`\"'{}\[\]()|\\!]*"
_WEB = r"(?ai:(?:https?://|mailto:)[^\s<>`\\|!\[\]\"]+)"
_MAIL = r"(?a:[\w.+-]+@[\w-]+(?:\.[\w-]+)+)"
_SPOT = re.compile(
    rf"""
      (?P<auto>(?<!\\)(?P<before>\\*)<(?P<address>{_WEB}|{_MAIL})>)
    | (?P<bare>(?<![\w/:])(?:https?://{_HOST}(?:[/?#]{_REST})?|mailto:[\w.+-]+@{_HOST}))
    | (?P<picture>(?<!\\)!\[(?P<alt>[\w ,.()'"%?&/-]*)\]\((?P<src>[^\s<>()`\[\]\\|"'!]+)\))
    | (?P<image>!\[)
    | (?<!\\)(?P<slashes>\\*)(?:(?P<html><(?=[A-Za-z/!?]))|(?P<note>\[(?=\^))|(?P<directive>:(?=[^\W\d_])))
    | (?P<split>\][(:](?=[ \t]*(?:\n|$)))
    | (?P<target>\][(:][ \t]*<?)
    """,
    re.VERBOSE,
)
_LITERAL = re.compile(r"[^\s<]*")
_SWALLOWING = re.compile(r"(?:https?://|www\.)([^\s<]*)", re.IGNORECASE)


@dataclass
class _Spots:
    """The dangerous places of a text, by the mark that stands in for each."""

    directives: bool
    trusting: bool
    originals: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    targets: set[int] = field(default_factory=set)
    images: set[int] = field(default_factory=set)

    def marked(self, found: re.Match[str]) -> str:
        """Break one place and put a mark behind it."""
        kind = str(found.lastgroup)
        whole, slashes = found[0], found["slashes"] or ""
        if kind == "bare" or (kind == "directive" and not self.directives):
            return whole
        if kind == "auto":
            return self._autolink(found)
        if kind == "picture":
            return self._picture(found)
        if kind == "image":
            return self._put(whole, r"!\[", image=True)
        if kind == "split":
            return self._put(whole, _unlinked(whole))
        if kind == "target":
            return self._put(whole, whole.replace("<", r"\<"), target=True)
        if len(slashes) % 2:  # it is broken already
            return whole
        return self._put(whole, f"{slashes}\\{whole[len(slashes) :]}")

    def _autolink(self, found: re.Match[str]) -> str:
        if len(found["before"]) % 2 == 0 and may_click(found["address"]):
            return found[0]
        opened = f"{found['before']}<" if len(found["before"]) % 2 else f"{found['before']}\\<"
        return opened + _SPOT.sub(self.marked, f"{found['address']}>")

    def _picture(self, found: re.Match[str]) -> str:
        alt, source = found["alt"], found["src"]
        if is_own(source):
            return found[0]
        if not re.match(r"https?://", source, re.IGNORECASE) or not may_click(source):
            return self._put("![", r"!\[", image=True) + _SPOT.sub(self.marked, found[0][2:])
        said = f"image not loaded: {alt.strip()}" if alt.strip() else "image not loaded"
        return self._put(found[0], f"({said} <{source}>)", image=True)

    def _put(self, original: str, broken: str, *, target: bool = False, image: bool = False) -> str:
        number = len(self.originals)
        if not self.trusting or number >= _MARKS:
            return _unlinked(broken) if target else broken
        self.originals.append(original)
        self.broken.append(broken)
        if target:
            self.targets.add(number)
        if image:
            self.images.add(number)
        return (original if target else broken) + chr(_FIRST + number)


def neutral(text: str, *, directives: bool = False) -> str:
    """Return Markdown that loads nothing from elsewhere and hides nothing.

    Pictures of other hosts become their address, HTML is shown as text, links are clickable only
    when they lead to the web or a mailbox, and say so. `directives` is for a renderer that takes
    `:name` for a command. Ordinary Markdown comes out as it went in; doing it twice changes nothing.
    """
    shown = prose(text.replace("\r\n", "\n"))
    for _ in range(_ROUNDS):
        # Breaking a link may change what is code behind it: so until nothing changes any more.
        before, shown = shown, _once(shown, directives, trusting=len(shown) <= _LONGEST)
        if shown == before:
            return shown
    return _once(shown, directives, trusting=False)


def _once(text: str, directives: bool, *, trusting: bool) -> str:
    spots = _Spots(directives, trusting)
    marked = _SPOT.sub(spots.marked, text)
    if not spots.originals:
        return marked
    readings = [_read(_parsers()[0], marked)]
    if readings[0].code:
        readings += [_read(parser, marked) for parser in _parsers()[1:]]
    code = frozenset[int].intersection(*(reading.code for reading in readings))
    if sum(address.count("`") for address in _SWALLOWING.findall(marked)) > 1:
        # Which of several addresses ends at its backtick is a matter of dialect.
        code -= spots.images - frozenset[int].intersection(
            *(reading.blocks for reading in readings)
        )
    good = frozenset[int].intersection(*(reading.good for reading in readings))
    bad = frozenset[int].union(*(reading.bad for reading in readings))

    def settled(number: int) -> tuple[str, str]:
        """Return what stands before a mark now, and what shall."""
        original, broken = spots.originals[number], spots.broken[number]
        if number not in spots.targets:
            return broken, original if number in code else broken
        if number in bad:
            return original, _unlinked(broken)
        return original, original if number in code | good else broken

    pieces: list[str] = []
    at = 0
    for found in _MARK.finditer(marked):
        before, after = settled(ord(found[0]) - _FIRST)
        pieces += [marked[at : found.start() - len(before)], after]
        at = found.end()
    return "".join([*pieces, marked[at:]])


def _unlinked(target: str) -> str:
    """Break `](` or `]:` so that it starts no address."""
    return f"]\\{target[1:]}"


@dataclass(frozen=True)
class _Reading:
    code: frozenset[int]
    blocks: frozenset[int]
    good: frozenset[int]
    bad: frozenset[int]


def _read(parser: MarkdownIt, marked: str) -> _Reading:
    """Say which marks a parser finds in code, and in which links."""
    code: set[int] = set()
    blocks: set[int] = set()
    good: set[int] = set()
    bad: set[int] = set()
    for token in parser.parse(marked):
        if token.type in {"fence", "code_block"}:
            blocks |= _numbers(token.content)
        for inner in token.children or ():
            if inner.type == "code_inline":
                code |= _numbers(inner.content)
        for address, said in _links(token.children or ()):
            plain = _MARK.sub("", address)
            honest = may_click(plain) and tells_the_truth(_MARK.sub("", said), plain)
            (good if honest else bad).update(_numbers(address))
    return _Reading(frozenset(code | blocks), frozenset(blocks), frozenset(good), frozenset(bad))


def _links(tokens: Sequence[Token]) -> Iterator[tuple[str, str]]:
    """Yield each link's address and text."""
    for number, token in enumerate(tokens):
        if token.type == "link_open":
            inside = []
            for inner in tokens[number + 1 :]:
                if inner.type == "link_close":
                    break
                inside.append(inner.content)
            yield str(token.attrGet("href") or ""), "".join(inside)


def _numbers(text: str) -> set[int]:
    return {ord(mark) - _FIRST for mark in _MARK.findall(text)}


@functools.cache
def _parsers() -> tuple[MarkdownIt, ...]:
    """Return the readings: with tables, without, and with addresses that swallow backticks."""
    return _parser("table", "strikethrough"), _parser(), _parser("table", literals=True)


def _parser(*rules: str, literals: bool = False) -> MarkdownIt:
    # HTML is off: what stands inside it is read as if it were text, because it becomes text.
    parser = _Reader("commonmark", {"html": False}).enable(list(rules))
    if literals:
        parser.inline.add_terminator_char("w")
        parser.inline.ruler.before("backticks", "literal", _literal)
    return parser


class _Reader(MarkdownIt):
    """Takes every link as it is written; whether it may stay is decided here."""

    def normalizeLink(self, url: str) -> str:
        return url

    def validateLink(self, url: str) -> bool:  # noqa: ARG002 - all are taken
        return True


def _literal(state: StateInline, silent: bool) -> bool:
    """Take a bare address up to its end, as GitHub's dialect does, backticks included."""
    rest = state.src[state.pos : state.posMax]
    opens = rest.startswith("www.") or (
        rest.startswith("://") and state.pending.lower().endswith(("http", "https"))
    )
    if not opens:
        return False
    end = _LITERAL.match(rest)
    length = end.end() if end else 0
    if not silent:
        state.pending += rest[:length]
    state.pos += length
    return True
