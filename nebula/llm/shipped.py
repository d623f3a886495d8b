"""Vectors that come with the program: of the tools' phrases and of the manual's passages.

Making them takes half a minute of one core, which the first start would spend before it can find
anything. They are written by `python -m docs.vectors`; a text that is not among them is embedded
as any other, so a stale file costs time and never an answer.
"""

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

FILE = Path(__file__).with_name("shipped_vectors.npz")
_KEY_BYTES = 16


def key_of(text: str) -> bytes:
    """Return what a text is found by."""
    return hashlib.sha256(text.encode()).digest()[:_KEY_BYTES]


@functools.cache
def shipped(model: str) -> Mapping[bytes, npt.NDArray[np.float32]]:
    """Return the unit vectors (384, float32) of known texts, made by the named model."""
    if not FILE.exists():
        return {}
    with np.load(FILE) as data:
        if str(data["model"]) != model:
            return {}
        vectors = data["vectors"].astype(np.float32)
        keys = data["keys"]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return {key.tobytes(): vector for key, vector in zip(keys, vectors, strict=True)}


def write(model: str, texts: list[str], vectors: npt.NDArray[np.float32]) -> None:
    """Write the file: half precision is far finer than what ranking needs."""
    keys = np.frombuffer(b"".join(map(key_of, texts)), np.uint8).reshape(-1, _KEY_BYTES)
    np.savez_compressed(FILE, model=model, keys=keys, vectors=vectors.astype(np.float16))
