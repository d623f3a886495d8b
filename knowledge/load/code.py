"""Code and configuration: sections at top-level definitions, lines as places."""

import re
from pathlib import PurePosixPath

from knowledge.document import Section
from knowledge.load.text import decode

_DEFINITION = re.compile(
    r"^(?:export |default |public |private |protected |static |async |pub(?:\([a-z]+\))? |abstract )*"
    r"(?:def|class|func|function|fn|struct|enum|trait|impl|interface|type|module|namespace"
    r"|CREATE TABLE)\b[ \t]*\(?[^(\n]*?([A-Za-z_][A-Za-z0-9_]*)"
)
_KEY = re.compile(r"^(?:\[+([^\]]+)\]+|([A-Za-z_][\w.-]*):)\s*(?:[#;].*)?$")
_ATTACHED = ("@", "#", "//", "/*", " *", "*/", '"""')
_CONFIGURATION = {".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf", ".properties"}


def read_code(body: bytes, source: str) -> tuple[str, list[Section]]:
    """Return the file's name and its sections; decorators and comments stay with what follows."""
    name = PurePosixPath(source).name
    lines = decode(body, source).replace("\r\n", "\n").split("\n")
    pattern = _KEY if PurePosixPath(source).suffix.lower() in _CONFIGURATION else _DEFINITION
    starts: list[tuple[int, str]] = [(0, "")]
    for number, line in enumerate(lines):
        found = pattern.match(line)
        if found is None:
            continue
        begin = _with_attached(lines, number, starts[-1][0])
        starts.append((begin, next(group for group in found.groups() if group)))
    ends = [begin for begin, _ in starts[1:]] + [len(lines)]
    return name, [
        Section(
            heading=[symbol] if symbol else [],
            text="\n".join(lines[begin:end]),
            first_line=begin + 1,
        )
        for (begin, symbol), end in zip(starts, ends, strict=True)
        if "".join(lines[begin:end]).strip()
    ]


def _with_attached(lines: list[str], number: int, floor: int) -> int:
    """Walk up over the comments and decorators right above a definition."""
    while number > floor + 1 and lines[number - 1].startswith(_ATTACHED):
        number -= 1
    return number
