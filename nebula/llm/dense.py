"""Dense layers of a small network, in the shape that multiplies fastest on this processor.

OpenBLAS copies a large matrix into an order of its own before it multiplies. With one sentence
there is so little to multiply that the copying takes most of the time. Its kernels for AVX-512
multiply small matrices without copying, so there the weights are kept in small pieces.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_info

Array: TypeAlias = npt.NDArray[np.float32]

_DEEP, _WIDE, _ROWS = 384, 32, 80
_MOST = 1_000_000
"""OpenBLAS multiplies without copying while rows x depth x width is at most this."""
_COPY_FREE = frozenset({"skylakex", "cooperlake", "sapphirerapids"})


class Dense:
    """A layer `rows @ weights + bias`; weights are depth x width."""

    def __init__(self, weights: Array, bias: Array, *, pieces: bool) -> None:
        """Take the parameters, and whether to keep them in pieces."""
        self._depth, self._width = weights.shape
        self._bias = bias
        self._in_pieces = pieces and self._depth % _DEEP == 0 and self._width % _WIDE == 0
        if self._in_pieces:
            weights = weights.reshape(self._depth, -1, _WIDE).transpose(1, 0, 2)
        self._weights = np.ascontiguousarray(weights)

    def __call__(self, rows: Array) -> Array:
        """Return the layer's output for n x depth rows, as an array of its own."""
        made = self._multiplied(rows) if self._in_pieces else rows @ self._weights
        made += self._bias
        return made

    def _multiplied(self, rows: Array) -> Array:
        made = np.empty((len(rows), self._width), np.float32)
        deep = self._depth if len(rows) * self._depth * _WIDE <= _MOST else _DEEP
        for start in range(0, len(rows), _ROWS):
            some = rows[start : start + _ROWS]
            # The columns of each piece are written where they belong.
            into = made[start : start + _ROWS].reshape(len(some), -1, _WIDE).transpose(1, 0, 2)
            np.matmul(some[:, :deep], self._weights[:, :deep], out=into)
            for top in range(deep, self._depth, deep):
                into += some[:, top : top + deep] @ self._weights[:, top : top + deep]
        return made


def multiplies_small_without_copying() -> bool:
    """Say whether numpy's BLAS has kernels that take small matrices as they are."""
    return any(
        str(pool.get("architecture", "")).lower() in _COPY_FREE for pool in threadpool_info()
    )
