"""Canaries: values that must be found nowhere, and the encodings in which to look for them."""

import base64
import html
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda s: s,
    "json": lambda s: json.dumps(s)[1:-1],
    "json unicode": lambda s: json.dumps(s, ensure_ascii=False)[1:-1],
    "json twice": lambda s: json.dumps(json.dumps(s)[1:-1])[1:-1],
    "repr": lambda s: repr(s)[1:-1],
    "url": lambda s: quote(s, safe=""),
    "url with slashes": quote,
    "url lower case": lambda s: _lower(quote(s, safe="")),
    "form": quote_plus,
    "url every byte": lambda s: "".join(f"%{b:02X}" for b in s.encode()),
    "html": html.escape,
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 url": lambda s: base64.urlsafe_b64encode(s.encode()).decode().rstrip("="),
    "base64 one on": lambda s: base64.b64encode(b"x" + s.encode() + b"yz").decode(),
    "base64 two on": lambda s: base64.b64encode(b"xy" + s.encode() + b"z").decode(),
    "base32": lambda s: base64.b32encode(s.encode()).decode(),
    "hex": lambda s: s.encode().hex(),
    "hex upper case": lambda s: s.encode().hex().upper(),
    "hex with colons": lambda s: s.encode().hex(":"),
    "bytes": lambda s: "".join(f"\\x{b:02x}" for b in s.encode()),
    "numbers": lambda s: ", ".join(map(str, s.encode())),
    "reversed": lambda s: s[::-1],
    "upper case": str.upper,
}


def found(secret: str, text: str) -> list[str]:
    """Name the encodings in which a text holds a secret; looks by itself, not with the redactor."""
    seen = [name for name, encode in ENCODINGS.items() if _core(name, secret, encode) in text]
    return list(dict.fromkeys(seen))


def _core(name: str, secret: str, encode: Callable[[str], str]) -> str:
    """Return what an encoding must show; the ends of base64 and base32 depend on the neighbours."""
    encoded = encode(secret)
    return encoded[4:-6] if name.startswith("base") else encoded


def _lower(quoted: str) -> str:
    pieces = quoted.split("%")
    return pieces[0] + "".join(f"%{p[:2].lower()}{p[2:]}" for p in pieces[1:])
