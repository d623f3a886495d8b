"""Markdown: one section per heading, with the path of headings above it."""

import re

from knowledge.document import Section, display_name
from knowledge.load.text import decode

_ATX = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r"^ {0,3}(```+|~~~+)")
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


def read_markdown(body: bytes, source: str) -> tuple[str, list[Section]]:
    """Return the first heading as the title, and the sections."""
    return sections_of(decode(body, source).replace("\r\n", "\n"), display_name(source))


def sections_of(text: str, fallback: str) -> tuple[str, list[Section]]:
    """Split Markdown at its headings; headings inside code fences are code."""
    text = _COMMENT.sub("", _FRONT_MATTER.sub("", text, count=1))
    path: list[tuple[int, str]] = []
    title, lines = "", list[str]()
    sections: list[Section] = []
    fence = ""

    def close() -> None:
        headings = [name for _, name in path]
        if "\n".join(lines).strip():
            place = f"#{anchor(headings[-1])}" if headings else ""
            sections.append(Section(heading=headings, text="\n".join(lines), place=place))
        lines.clear()

    for line in text.split("\n"):
        opened = _FENCE.match(line)
        if opened and (not fence or opened[1].startswith(fence)):
            fence = "" if fence else opened[1]
        found = None if fence else _ATX.match(line)
        if found is None:
            lines.append(line)
            continue
        close()
        level, name = len(found[1]), _plain(found[2])
        path = [(depth, above) for depth, above in path if depth < level] + [(level, name)]
        title = title or name
    close()
    return title or fallback, sections


def anchor(heading: str) -> str:
    """Return the fragment that Markdown viewers give a heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.lower()).strip()
    return kept.replace(" ", "-")


def _plain(heading: str) -> str:
    return _LINK.sub(r"\1", heading).replace("`", "").replace("**", "").strip()
