"""HTML: the main content of a page, its headings kept."""

from knowledge.document import Section, display_name
from knowledge.load.markdown import sections_of
from nebula.errors import InvalidInput


def read_html(body: bytes, source: str) -> tuple[str, list[Section]]:
    """Return the page's title and the sections of its main content.

    Raises:
        InvalidInput: when the page holds no readable content.
    """
    import trafilatura
    from trafilatura.utils import load_html

    tree = load_html(body)
    if tree is None:
        raise _no_content(source)
    titles = tree.xpath("//title")
    title = (titles[0].text_content() if titles else "").strip()
    found = trafilatura.extract(
        tree, output_format="markdown", include_tables=True, include_comments=False,
        favor_recall=True,
    )  # fmt: skip
    if not found or not found.strip():
        raise _no_content(source)
    heading, sections = sections_of(found, title or display_name(source))
    return title or heading, [section.model_copy(update={"place": ""}) for section in sections]


def _no_content(source: str) -> InvalidInput:
    return InvalidInput(
        f"There is no readable text on {display_name(source)}",
        hint="Pages that are drawn by scripts cannot be read; save the page and add the file.",
    )
