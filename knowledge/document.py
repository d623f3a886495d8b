"""What a loader hands over, whatever the file's format was."""

import hashlib
import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from pydantic import BaseModel

from nebula.errors import InvalidInput

ARROW = " › "

_SURROGATES = re.compile("[\ud800-\udfff]")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Section(BaseModel):
    """A stretch of text under one heading."""

    heading: list[str] = []
    """The path of headings above it, outermost first."""
    text: str
    place: str = ""
    """Where it is: `page 3`, `#anchor`; empty when only lines tell."""
    first_line: int | None = None
    """The line its text begins at (from 1), when lines mean something to a person."""


class Loaded(BaseModel):
    """A document read into sections, not yet indexed."""

    source: str
    kind: str
    title: str
    sections: list[Section]
    content_hash: str
    size_bytes: int


def clean(text: str) -> str:
    """Drop what PostgreSQL refuses or no person sees: control characters, half surrogates."""
    return _CONTROLS.sub("", _SURROGATES.sub("\ufffd", text.replace("\r\n", "\n")))


def loaded(source: str, kind: str, body: bytes, title: str, sections: list[Section]) -> Loaded:
    """Put a document together.

    Raises:
        InvalidInput: when no section holds any text.
    """
    kept = [
        section.model_copy(update={"text": clean(section.text)})
        for section in sections
        if section.text.strip() or section.heading
    ]
    if not any(section.text.strip() for section in kept):
        raise InvalidInput(
            f"There is no text in {display_name(source)}",
            hint="A scanned document needs text recognition (OCR) first.",
        )
    return Loaded(
        source=source,
        kind=kind,
        title=clean(title).strip()[:300] or display_name(source),
        sections=kept,
        content_hash=hashlib.sha256(body).hexdigest(),
        size_bytes=len(body),
    )


def display_name(source: str) -> str:
    """Return the short name of a source that a citation shows."""
    parts = urlsplit(source)
    if parts.scheme in {"http", "https"} and parts.netloc:
        return f"{parts.netloc}{parts.path.rstrip('/')}"
    return PurePosixPath(source.replace("\\", "/")).name or source
