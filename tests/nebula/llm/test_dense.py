"""A layer in pieces is the layer."""

import numpy as np
import pytest

from nebula.llm.dense import Dense


@pytest.mark.parametrize("rows", [1, 18, 80, 81, 200])
@pytest.mark.parametrize(("depth", "width"), [(384, 1152), (384, 384), (1536, 384)])
def test_a_layer_in_pieces_gives_what_the_whole_one_gives(
    rows: int, depth: int, width: int
) -> None:
    chance = np.random.default_rng(rows)
    weights = chance.standard_normal((depth, width), np.float32)
    bias = chance.standard_normal(width, np.float32)
    given = chance.standard_normal((rows, depth), np.float32)
    made = Dense(weights, bias, pieces=True)(given)
    exact = given.astype(np.float64) @ weights + bias
    np.testing.assert_allclose(made, exact, atol=1e-3)
    np.testing.assert_allclose(Dense(weights, bias, pieces=False)(given), exact, atol=1e-3)


def test_a_layer_that_pieces_do_not_fit_stays_whole() -> None:
    weights = np.eye(100, 50, dtype=np.float32)
    made = Dense(weights, np.zeros(50, np.float32), pieces=True)(np.ones((3, 100), np.float32))
    np.testing.assert_array_equal(made, np.ones((3, 50), np.float32))
