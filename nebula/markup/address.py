"""Which addresses a page of ours may load by itself, and which a person may click."""

import re
from typing import Final
from urllib.parse import urlsplit

MAX_DATA: Final = 2 * 1024 * 1024
"""Characters of a picture that travels inside its own address."""

_OWN = re.compile(r"/(?:api/artefacts|public)/(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/-]*")
_RASTER = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+={0,2}")
_IGNORED = re.compile(r"[\x00-\x20]")
_SCHEME = re.compile(r"([^/?#:]*):")
_CLICKABLE: Final = frozenset({"http", "https", "mailto"})
_WRITTEN_OUT = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)


def is_own(address: str) -> bool:
    """Say whether an address is a picture that this server keeps: no query, nothing that redirects."""
    return _OWN.fullmatch(address) is not None and "//" not in address


def may_show(address: str) -> bool:
    """Say whether a picture may be loaded: ours, or a small raster image inside its own address."""
    return is_own(address) or (len(address) <= MAX_DATA and _RASTER.fullmatch(address) is not None)


def may_click(address: str) -> bool:
    """Say whether a link may be clickable: web, mail, or a page of this server."""
    # A browser skips control characters and spaces inside a scheme.
    plain = _IGNORED.sub("", address).replace("\\", "/")
    scheme = _SCHEME.match(plain)
    if scheme is None:
        return not plain.startswith("//")
    if scheme[1].lower() not in _CLICKABLE:
        return False
    return scheme[1].lower() == "mailto" or "@" not in (_host(plain) or "@")


def tells_the_truth(text: str, address: str) -> bool:
    """Say whether a link whose text is itself an address leads to that address's host."""
    if not _WRITTEN_OUT.fullmatch(text.strip()):
        return True
    said = text.strip()
    if said.lower().startswith("www."):
        said = f"http://{said}"
    return _host(said).removeprefix("www.") == _host(address).removeprefix("www.")


def _host(address: str) -> str:
    try:
        return urlsplit(address).netloc.lower()
    except ValueError:
        return ""
