"""The forms in which a secret shows up in text: as it is, escaped, encoded, in parts."""

import base64
import html
import json
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import quote, quote_plus, unquote, urlsplit

SHORTEST = 8
"""Shorter values are found in ordinary text by chance, so they are no secrets here."""
_TELLING = 20
"""How long a line of a key, or a part of an address, must be to be hidden by itself."""


@lru_cache(maxsize=4096)
def forms(secret: str) -> frozenset[str]:
    """Return every text that gives the secret away; empty when it is too short to be hidden.

    A base64 or base32 form holds only what the bytes before and after it cannot change, so that it
    is found in the encoding of a longer text at any offset.
    """
    found: set[str] = set()
    for part in _parts(secret):
        found.update(_escaped(part))
        found.update(_encoded(part))
    return frozenset(form for form in found if len(form) >= SHORTEST)


def _parts(secret: str) -> Iterator[str]:
    """Yield the secret, and of a key file or an address what is secret by itself."""
    whole = [secret, secret.strip()]
    lines = [line.strip() for line in secret.splitlines()]
    if len(lines) > 1:
        whole += [line for line in lines if len(line) >= _TELLING and not line.startswith("---")]
    if "://" in secret:
        whole += _parts_of_address(secret)
    yield from dict.fromkeys(part for part in whole if len(part) >= SHORTEST)


def _parts_of_address(address: str) -> list[str]:
    try:
        split = urlsplit(address.strip())
        password = split.password or ""
    except ValueError:
        return []
    pieces = [*split.path.split("/"), *(p.partition("=")[2] for p in split.query.split("&"))]
    telling = [piece for piece in pieces if len(piece) >= _TELLING]
    return [*telling, password, unquote(password)]


def _escaped(text: str) -> Iterator[str]:
    """Yield the text as documents and programs write it."""
    yield text
    yield text.upper()
    yield text.lower()
    yield text[::-1]
    yield text.encode().decode("latin-1")
    yield repr(text)[1:-1]
    yield ascii(text)[1:-1]
    yield html.escape(text)
    yield html.escape(text).replace("&#x27;", "&#39;")
    yield html.escape(text, quote=False)
    for ascii_only in (True, False):
        once = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield once
        yield once.replace("/", "\\/")
        # Arguments of a tool call are a document inside a document.
        yield json.dumps(once, ensure_ascii=ascii_only)[1:-1]
    for quoted in (quote(text), quote(text, safe=""), quote_plus(text)):
        yield quoted
        yield _lower_escapes(quoted)
        yield quote(quoted, safe="")
    every = "".join(f"%{byte:02X}" for byte in text.encode())
    yield every
    yield every.lower()


def _encoded(text: str) -> Iterator[str]:
    """Yield the text as base64, base32, hex and numbers."""
    raw = text.encode()
    for offset in range(3):
        core = _core(base64.b64encode(b"\0" * offset + raw).decode(), offset, len(raw), bits=6)
        yield core
        yield core.replace("+", "-").replace("/", "_")
    for offset in range(5):
        core = _core(base64.b32encode(b"\0" * offset + raw).decode(), offset, len(raw), bits=5)
        yield core
        yield core.lower()
    for separator in ("", " ", ":"):
        yield raw.hex(separator) if separator else raw.hex()
        yield raw.hex(separator).upper() if separator else raw.hex().upper()
    yield "".join(f"\\x{byte:02x}" for byte in raw)
    yield "".join(f"\\u{ord(char):04x}" for char in text)
    yield ", ".join(str(byte) for byte in raw)
    yield ",".join(str(byte) for byte in raw)


def _core(encoded: str, offset: int, length: int, *, bits: int) -> str:
    """Return the characters of an encoding that depend on the secret's own bytes alone."""
    first = -(-8 * offset // bits)
    return encoded[first : 8 * (offset + length) // bits]


def _lower_escapes(quoted: str) -> str:
    pieces = quoted.split("%")
    return pieces[0] + "".join(f"%{piece[:2].lower()}{piece[2:]}" for piece in pieces[1:])
