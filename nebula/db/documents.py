"""Documents (JSON) as PostgreSQL can store them."""

import json
from typing import Any

_NUL = "\x00"
_REPLACED = "\N{REPLACEMENT CHARACTER}"


def storable_json(value: Any) -> str:
    """Encode a document, without what jsonb refuses: NUL characters and lone surrogates."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if "\\u0000" in text:
        text = json.dumps(storable(value), ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace").decode()


def storable(value: Any) -> Any:
    """Return a document with those characters replaced."""
    if isinstance(value, str):
        return value.replace(_NUL, _REPLACED).encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {storable(key): storable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [storable(inner) for inner in value]
    return value
