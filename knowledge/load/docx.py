"""Word documents: one section per heading, tables as rows."""

import io
import zipfile
from pathlib import PurePosixPath

from knowledge.document import Section, display_name
from nebula.errors import InvalidInput, TooLarge

_OLE = b"\xd0\xcf\x11\xe0"
"""How both old .doc files and encrypted .docx files begin."""


def read_docx(body: bytes, source: str, *, max_unpacked: int) -> tuple[str, list[Section]]:
    """Return the document's title and sections.

    Raises:
        InvalidInput: when it is encrypted, damaged or no docx.
        TooLarge: when its parts unpack to more than `max_unpacked` bytes.
    """
    name = display_name(source)
    _check_archive(body, name, max_unpacked)
    import docx
    from docx.opc.exceptions import OpcError

    try:
        document = docx.Document(io.BytesIO(body))
        title = (document.core_properties.title or "").strip()
        sections = _sections(document)
    except (
        OpcError,
        SyntaxError,
        KeyError,
        ValueError,
        AttributeError,
        zipfile.BadZipFile,
    ) as error:
        # A broken part of the XML is a SyntaxError of lxml's.
        raise _damaged(name) from error
    return title or PurePosixPath(name).stem, sections


def _check_archive(body: bytes, name: str, max_unpacked: int) -> None:
    if body.startswith(_OLE):
        raise InvalidInput(
            f"{name} is encrypted, or an old .doc file",
            hint="Save it as .docx without a password, then add it again.",
        )
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            unpacked = sum(part.file_size for part in archive.infolist())
            parts = len(archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise _damaged(name) from error
    if unpacked > max_unpacked or parts > 10_000:
        raise TooLarge(
            f"{name} unpacks to {unpacked:,} bytes; at most {max_unpacked:,} are read",
            hint="Take large pictures and attachments out, then add it again.",
        )


def _damaged(name: str) -> InvalidInput:
    return InvalidInput(
        f"{name} is damaged or not a Word document",
        hint="Open it in a word processor and save it again as .docx.",
    )


def _sections(document: object) -> list[Section]:
    from docx.table import Table

    path: list[tuple[int, str]] = []
    sections: list[Section] = []
    paragraphs: list[str] = []

    def close() -> None:
        if any(paragraph.strip() for paragraph in paragraphs):
            headings = [name for _, name in path]
            sections.append(Section(heading=headings, text="\n\n".join(paragraphs)))
        paragraphs.clear()

    for item in document.iter_inner_content():  # type: ignore[attr-defined]
        if isinstance(item, Table):
            rows = [" | ".join(cell.text.strip() for cell in row.cells) for row in item.rows]
            paragraphs.append("\n".join(rows))
            continue
        level = _heading_level(item.style.name if item.style is not None else "")
        if level is None or not item.text.strip():
            paragraphs.append(item.text)
            continue
        close()
        path = [(depth, above) for depth, above in path if depth < level]
        path.append((level, item.text.strip()))
    close()
    return sections


def _heading_level(style: str | None) -> int | None:
    if style == "Title":
        return 0
    if style and style.startswith("Heading "):
        number = style.removeprefix("Heading ")
        return int(number) if number.isdigit() else None
    return None
