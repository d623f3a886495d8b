"""Plain text: decoded with care, one section, lines as places."""

from pathlib import PurePosixPath

from knowledge.document import Section, display_name
from nebula.errors import InvalidInput

_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def decode(body: bytes, source: str) -> str:
    """Decode text: by its byte order mark, as UTF-8, else as Windows-1252.

    Raises:
        InvalidInput: when the bytes are not text.
    """
    for mark, encoding in _BOMS:
        if body.startswith(mark):
            try:
                return body.decode(encoding)
            except UnicodeDecodeError as error:
                raise _not_text(source) from error
    if b"\x00" in body:
        raise _not_text(source)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        text = body.decode("cp1252", errors="replace")
    strange = sum(1 for c in text if (c < " " and c not in "\t\n\r\f\x1b") or c == "\ufffd")
    if strange * 50 > len(text):
        raise _not_text(source)
    return text


def _not_text(source: str) -> InvalidInput:
    return InvalidInput(
        f"{display_name(source)} is not text",
        hint="Knowledge reads Markdown, text, code, HTML, PDF and docx.",
    )


def read_text(body: bytes, source: str) -> tuple[str, list[Section]]:
    """Return a title and one section with line numbers."""
    text = decode(body, source).replace("\r\n", "\n")
    return PurePosixPath(source).name, [Section(text=text, first_line=1)]
