"""Turns bytes of a known kind into sections; the caller gives the limits."""

from dataclasses import dataclass

from knowledge.document import Loaded, loaded
from knowledge.load.code import read_code
from knowledge.load.docx import read_docx
from knowledge.load.html import read_html
from knowledge.load.markdown import read_markdown
from knowledge.load.pdf import read_pdf
from knowledge.load.text import read_text
from nebula.errors import InvalidInput, TooLarge

ISOLATED = frozenset({"pdf", "docx", "html"})
"""Kinds whose parsers are complex enough to run in a process of their own."""


@dataclass(frozen=True)
class Limits:
    """How much of one document is read."""

    max_characters: int
    max_pages: int
    max_unpacked: int


def read(body: bytes, kind: str, source: str, limits: Limits) -> Loaded:
    """Read one document.

    Raises:
        InvalidInput: when it is damaged, encrypted, empty or not what it says it is.
        TooLarge: when it passes a limit.
    """
    match kind:
        case "markdown":
            title, sections = read_markdown(body, source)
        case "html":
            title, sections = read_html(body, source)
        case "pdf":
            title, sections = read_pdf(body, source, max_pages=limits.max_pages)
        case "docx":
            title, sections = read_docx(body, source, max_unpacked=limits.max_unpacked)
        case "code":
            title, sections = read_code(body, source)
        case "text":
            title, sections = read_text(body, source)
        case _:
            raise InvalidInput(f"There is no loader for {kind!r}")
    characters = sum(len(section.text) for section in sections)
    if characters > limits.max_characters:
        raise TooLarge(
            f"The document has {characters:,} characters; at most {limits.max_characters:,} are kept",
            hint="Split it, or raise JARVIS_KNOWLEDGE_MAX_CHARACTERS.",
        )
    return loaded(source, kind, body, title, sections)
