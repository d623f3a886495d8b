"""The numpy model against a slow, plain float64 reading of the same architecture."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from nebula.llm import minilm
from nebula.llm.minilm import MiniLM, model_folder

SENTENCES = [
    "check GPU status",
    "How do I connect ComfyUI to my homelab when it runs on another machine?",
    "Schalte das Licht aus: ü, ß, 猫 and 🤖!",
]


@pytest.fixture(scope="module")
def model() -> MiniLM:
    return MiniLM()


def textbook(text: str) -> Any:
    """Encode one text with loops over heads and tokens, in double precision."""
    w = {k: v.astype(np.float64) for k, v in load_file(model_folder() / "model.safetensors").items()
         if v.dtype == np.float32}  # fmt: skip
    tokenizer = Tokenizer.from_file(str(model_folder() / "tokenizer.json"))
    tokenizer.no_padding()
    ids = tokenizer.encode(text).ids

    def linear(x: Any, name: str) -> Any:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x: Any, name: str) -> Any:
        scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    e = "embeddings"
    x = np.stack([
        w[f"{e}.word_embeddings.weight"][token]
        + w[f"{e}.position_embeddings.weight"][at]
        + w[f"{e}.token_type_embeddings.weight"][0]
        for at, token in enumerate(ids)
    ])  # fmt: skip
    x = norm(x, f"{e}.LayerNorm")
    erf = np.vectorize(math.erf)
    for layer in range(6):
        at = f"encoder.layer.{layer}"
        query, key, value = (
            linear(x, f"{at}.attention.self.{part}") for part in ("query", "key", "value")
        )
        heads = []
        for head in range(12):
            cut = slice(head * 32, head * 32 + 32)
            scores = np.exp(query[:, cut] @ key[:, cut].T / math.sqrt(32))
            heads.append(scores / scores.sum(-1, keepdims=True) @ value[:, cut])
        mixed = linear(np.concatenate(heads, axis=1), f"{at}.attention.output.dense")
        x = norm(x + mixed, f"{at}.attention.output.LayerNorm")
        raised = linear(x, f"{at}.intermediate.dense")
        raised = raised * 0.5 * (1 + erf(raised / math.sqrt(2)))
        x = norm(x + linear(raised, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    pooled = x.mean(axis=0)
    return pooled / np.linalg.norm(pooled)


@pytest.mark.parametrize("text", SENTENCES)
def test_vectors_equal_a_plain_reading_of_the_architecture(model: MiniLM, text: str) -> None:
    np.testing.assert_allclose(model.encode([text])[0], textbook(text), atol=2e-6)


def test_a_vector_does_not_depend_on_what_shares_its_batch(model: MiniLM) -> None:
    texts = [*SENTENCES, "a", "word " * 80, "check GPU status"]
    together = model.encode(texts, batch_size=4)
    alone = np.concatenate([model.encode([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=st.text(max_size=60))
def test_any_text_becomes_a_vector_of_length_one(text: str) -> None:
    vector = _shared().encode([text])[0]
    assert vector.shape == (384,)
    assert float(np.linalg.norm(vector)) == pytest.approx(1.0, abs=1e-5)


_MODELS: list[MiniLM] = []


def _shared() -> MiniLM:
    if not _MODELS:
        _MODELS.append(MiniLM())
    return _MODELS[0]


def test_paraphrases_lie_closer_than_unrelated_sentences(model: MiniLM) -> None:
    asked, meant, other = model.encode(
        ["how much VRAM is left", "free graphics card memory", "send an e-mail to my mother"]
    )
    assert asked @ meant > 0.3 > 0.1 > asked @ other


def test_a_text_longer_than_the_model_takes_is_cut_and_not_refused(model: MiniLM) -> None:
    long, longer = model.encode(["word " * 400, "word " * 4000])
    np.testing.assert_allclose(long, longer, atol=1e-6)


def test_no_texts_give_no_vectors(model: MiniLM) -> None:
    assert model.encode([]).shape == (0, 384)


def test_the_wheel_that_would_import_torch_is_only_located(
    model: MiniLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    assert model_folder().is_dir()
    assert minilm.WHEEL not in sys.modules
    assert "torch" not in sys.modules
