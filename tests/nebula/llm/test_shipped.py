"""Vectors that come with the program are the ones the model makes."""

from pathlib import Path

import numpy as np
import pytest

from nebula.llm import shipped as room
from nebula.llm.embedding import Embedder
from nebula.llm.minilm import MiniLM
from nebula.llm.shipped import key_of, shipped

TEXT = "check GPU status"


def test_a_shipped_vector_is_what_the_model_makes() -> None:
    vector = shipped(Embedder.name)[key_of(TEXT)]
    assert float(vector @ MiniLM().encode([TEXT])[0]) > 0.9999
    assert abs(float(np.linalg.norm(vector)) - 1) < 1e-5


async def test_known_and_new_texts_keep_their_order() -> None:
    new = "a sentence that nobody has shipped"
    mixed = await Embedder().embed([TEXT, new, TEXT])
    alone = (await Embedder().embed([new]))[0]
    assert np.allclose(mixed[0], mixed[2])
    assert np.allclose(mixed[1], alone, atol=1e-5)


async def test_without_the_file_texts_are_embedded_as_any_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_file = (await Embedder().embed([TEXT]))[0]
    monkeypatch.setattr(room, "FILE", tmp_path / "none.npz")
    shipped.cache_clear()
    try:
        without = (await Embedder().embed([TEXT]))[0]
    finally:
        shipped.cache_clear()
    assert float(with_file @ without) > 0.9999


async def test_no_texts_give_no_vectors() -> None:
    assert (await Embedder().embed([])).shape == (0, 384)
