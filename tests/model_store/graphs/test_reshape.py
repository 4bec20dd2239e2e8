"""Shapes of callers and of the graph, where a configuration makes them differ."""

import numpy as np

from model_store.graphs.reshape import Reshape


def test_free_sizes_keep_their_order_on_both_sides() -> None:
    """Each -1 stands for one size that callers and graph share; the batch stays in front."""
    shapes = Reshape({"x": ((2, -1, 2, -1), (-1, 4, -1))}, {}, has_batch=True)
    array = np.arange(3 * 5 * 4 * 7).reshape(3, 5, 4, 7)
    assert shapes.enter({"x": array, "other": array})["x"].shape == (3, 2, 5, 2, 7)


def test_scalar_comes_out_as_one_number() -> None:
    """An output without axes becomes [1] for the caller."""
    shapes = Reshape({}, {"y": ((), (1,))}, has_batch=False)
    [y, z] = shapes.leave(["y", "z"], [np.float32(3).reshape(()), np.zeros(2)])
    assert (y.tolist(), z.shape) == ([3.0], (2,))


def test_output_of_another_rank_stays_as_it_is() -> None:
    """An output that does not fit the configuration is not reshaped."""
    shapes = Reshape({}, {"y": ((2, 2), (4,))}, has_batch=False)
    assert shapes.leave(["y"], [np.zeros((2, 2, 1))])[0].shape == (2, 2, 1)
