"""A page of the web, fetched through the guard that refuses private addresses."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from knowledge.load.kinds import kind_of_page
from nebula.errors import InvalidInput, UpstreamRejected

if TYPE_CHECKING:
    from nebula.http import SafeFetch


async def fetch_page(
    fetch: "SafeFetch", url: str, *, max_bytes: int, seconds: float
) -> tuple[bytes, str]:
    """Return a page's bytes and kind.

    Raises:
        InvalidInput: when it is of a kind that cannot be read.
        UpstreamRejected: when the server answers with an error.
        TooLarge, TimedOut, UpstreamUnavailable, PermissionDenied: as the guard says.
    """
    page = await fetch.get(url, max_bytes=max_bytes, timeout=seconds)
    if page.status >= 400:
        raise UpstreamRejected(
            f"{urlsplit(url).netloc} answers {page.status} for this page",
            hint="Open the address in a browser to see whether it needs signing in.",
        )
    kind = kind_of_page(page.content_type, urlsplit(page.url).path)
    if kind is None:
        raise InvalidInput(
            f"The page is {page.content_type or 'of an unknown type'}, which cannot be read",
            hint="Knowledge reads Markdown, text, code, HTML, PDF and docx.",
        )
    return page.body, kind
