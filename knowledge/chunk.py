"""Cuts sections into passages that fit the embedding model's window."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from knowledge.document import ARROW, Section

TARGET = 900
"""Characters of a passage. MiniLM reads 256 tokens, about 1,000 characters of English."""

_FENCE = re.compile(r"^\s*(```|~~~)")


@dataclass(frozen=True)
class Chunk:
    """A passage, the section it belongs to, and its place."""

    section: int
    heading: str
    place: str
    text: str

    @property
    def hash(self) -> str:
        """Return what tells whether a passage is known already: its heading and text."""
        return hashlib.sha256(f"{self.heading}\x00{self.text}".encode()).hexdigest()

    def to_embed(self, title: str) -> str:
        """Return the text a vector is made from; title and heading say what it is about."""
        about = [title] if title and title not in self.heading else []
        return "\n".join([*about, *([self.heading] if self.heading else []), self.text])


def chunk(sections: Sequence[Section]) -> list[Chunk]:
    """Cut sections into passages of about `TARGET` characters, at paragraphs where possible."""
    made: list[Chunk] = []
    for number, section in enumerate(sections):
        heading = ARROW.join(section.heading)
        for first, last, text in _pieces(section.text):
            made.append(Chunk(number, heading, _place(section, first, last), text))
    return made


def _place(section: Section, first: int, last: int) -> str:
    if section.first_line is None:
        return section.place
    start, end = section.first_line + first, section.first_line + last
    return f"line {start}" if start == end else f"lines {start}-{end}"


def _pieces(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield (first line, last line, text) of each passage; lines count from 0."""
    lines = text.split("\n")
    start, size = -1, 0
    last = -1
    for begin, end in _blocks(lines):
        length = sum(len(line) + 1 for line in lines[begin : end + 1])
        if start >= 0 and size + length > TARGET:
            yield start, last, _join(lines, start, last)
            start, size = -1, 0
        if length > TARGET:
            yield from _split_block(lines, begin, end)
            continue
        start = begin if start < 0 else start
        last, size = end, size + length
    if start >= 0:
        yield start, last, _join(lines, start, last)


def _join(lines: Sequence[str], first: int, last: int) -> str:
    return "\n".join(lines[first : last + 1]).strip("\n").rstrip()


def _blocks(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield line ranges separated by blank lines; a fenced block stays with what leads to it."""
    start, fenced = -1, False
    for number, line in enumerate(lines):
        if _FENCE.match(line):
            fenced = not fenced
        if line.strip() or fenced:
            start = number if start < 0 else start
        elif start >= 0:
            yield start, number - 1
            start = -1
    if start >= 0:
        yield start, len(lines) - 1


def _split_block(lines: Sequence[str], begin: int, end: int) -> Iterator[tuple[int, int, str]]:
    """Cut one long paragraph at line ends, and a long line at spaces."""
    start, size = begin, 0
    for number in range(begin, end + 1):
        length = len(lines[number]) + 1
        if size and size + length > TARGET:
            yield start, number - 1, _join(lines, start, number - 1)
            start, size = number, 0
        if length > TARGET:
            yield from ((number, number, part) for part in _split_line(lines[number]))
            start, size = number + 1, 0
        else:
            size += length
    if size:
        yield start, end, _join(lines, start, end)


def _split_line(line: str) -> Iterable[str]:
    """Cut a long line at sentence ends, else at spaces, else anywhere."""
    rest = line.strip()
    while len(rest) > TARGET:
        window = rest[:TARGET]
        cut = max(window.rfind(". "), window.rfind("! "), window.rfind("? ")) + 1
        if cut < TARGET // 2:
            cut = window.rfind(" ")
        if cut < TARGET // 2:
            cut = TARGET
        yield rest[:cut].strip()
        rest = rest[cut:].strip()
    if rest:
        yield rest
