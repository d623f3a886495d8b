"""PDF: the text of each page, pages as places."""

import io
from pathlib import PurePosixPath

from knowledge.document import Section, display_name
from nebula.errors import InvalidInput, TooLarge


def read_pdf(body: bytes, source: str, *, max_pages: int) -> tuple[str, list[Section]]:
    """Return the PDF's title and one section per page.

    Raises:
        InvalidInput: when it is encrypted or damaged.
        TooLarge: when it has more than `max_pages` pages.
    """
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, PyPdfError

    name = display_name(source)
    try:
        reader = PdfReader(io.BytesIO(body))
        # Many PDFs are locked for editing only: those open with an empty password.
        if reader.is_encrypted and not reader.decrypt(""):
            raise _encrypted(name)
        pages = len(reader.pages)
        if pages > max_pages:
            raise TooLarge(
                f"{name} has {pages:,} pages; at most {max_pages:,} are read",
                hint="Split the PDF, or raise JARVIS_KNOWLEDGE_MAX_PAGES.",
            )
        sections = [
            Section(text=page.extract_text() or "", place=f"page {number}")
            for number, page in enumerate(reader.pages, start=1)
        ]
        title = str((reader.metadata.title if reader.metadata else None) or "").strip()
    except DependencyError as error:
        raise _encrypted(name) from error
    except (PyPdfError, ValueError, KeyError, TypeError, IndexError, AttributeError,
            RecursionError, OverflowError, AssertionError) as error:  # fmt: skip
        # pypdf lets these through when a file's structure is broken.
        raise InvalidInput(
            f"{name} is damaged: its pages cannot be read",
            hint="Open it in a PDF viewer and save it again.",
        ) from error
    return title or PurePosixPath(name).stem, sections


def _encrypted(name: str) -> InvalidInput:
    return InvalidInput(
        f"{name} is encrypted",
        hint="Remove its password (print it to a new PDF), then add it again.",
    )
