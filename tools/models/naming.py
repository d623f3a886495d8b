"""Makes names of files from outside safe to write, whatever they were called. Pure."""

import re
import unicodedata
from pathlib import PurePosixPath
from typing import Final

from nebula.errors import InvalidInput

WEIGHTS: Final = frozenset(
    {".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin", ".onnx"}
)
"""Endings of files that hold weights."""
PICKLED: Final = frozenset({".ckpt", ".pt", ".pth", ".bin"})
"""Endings of files that may run code when a program loads them."""
BESIDE: Final = frozenset({".json", ".txt", ".model", ".yaml", ".yml"})
"""Endings of the small files that a model in several files comes with."""
PART: Final = ".part"

_KEPT = re.compile(r"[^\w .()+\-\[\]&',@!]")
_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
_MAX_BYTES = 200
_MAX_DEPTH = 6


def safe_name(name: str, endings: frozenset[str] = WEIGHTS) -> str:
    """Return one path component made of a name; folders in it are dropped.

    Raises:
        InvalidInput: when nothing is left, or it does not end as a model's file does.
    """
    text = unicodedata.normalize("NFC", name).replace("\\", "/").rsplit("/", 1)[-1]
    text = "".join("" if unicodedata.category(c).startswith("C") else c for c in text)
    text = _KEPT.sub("_", text).strip(" ._-").replace("..", ".")
    if _RESERVED.match(text):
        text = f"_{text}"
    stem, dot, ending = text.rpartition(".")
    ending = f"{dot}{ending.lower()}"
    if not stem or ending not in endings:
        wanted = ", ".join(sorted(endings))
        raise InvalidInput(
            f"{name[:80]!r} does not end as a model's file does", hint=f"Endings: {wanted}."
        )
    return f"{_cut(stem, _MAX_BYTES - len(ending))}{ending}"


def safe_folder(name: str) -> str:
    """Return one path component for a folder made of a name; never empty, never hidden."""
    text = unicodedata.normalize("NFC", name)
    text = "".join("" if unicodedata.category(c).startswith("C") else c for c in text)
    text = _cut(_KEPT.sub("_", text).strip(" ._-").replace("..", "."), 100) or "model"
    return f"_{text}" if _RESERVED.match(text) else text


def safe_path(path: str) -> PurePosixPath:
    """Return a relative path made of one from outside, each component safe by itself.

    Raises:
        InvalidInput: when it climbs, is absolute, lies too deep, or is no file of a model.
    """
    parts = path.split("/")
    if len(parts) > _MAX_DEPTH or any(part in {"", ".", ".."} for part in parts) or "\\" in path:
        raise InvalidInput(f"{path[:120]!r} is not a path inside a model")
    folders = [safe_folder(part) for part in parts[:-1]]
    return PurePosixPath(*folders, safe_name(parts[-1], WEIGHTS | BESIDE))


def ending_of(name: str) -> str:
    """Return a name's ending in lower case, with its dot."""
    return PurePosixPath(name).suffix.lower()


def _cut(text: str, limit: int) -> str:
    return text.encode()[:limit].decode(errors="ignore").rstrip(" .")
