"""Runs of graphs that may fail or ask for too much memory."""

import numpy as np
import pytest

from model_store.rows import analyse
from model_store.rows.measuring import Meter, find_memory
from tests.support.rows.case import independent


def test_run_tells_every_tensor_that_is_no_constant() -> None:
    """It tells the shapes of all tensors, and the values of whole numbers."""
    model = independent("graph", "float[N,4] x => float[N,4] y", "s = Shape(x) t = Tanh(x) y = Neg(t)", "").model
    run = Meter(model, {}).run({"x": np.zeros((3, 4), np.float32)}, 3)
    assert run.shapes == {"x": (3, 4), "s": (2,), "t": (3, 4), "y": (3, 4)}
    assert {name: values.tolist() for name, values in run.values.items()} == {"s": [3, 4]}


def test_run_that_asks_for_more_memory_than_there_is_fails_like_any_other() -> None:
    """The process goes on."""
    huge = {"huge": np.array([2 * find_memory()])}
    body = (
        "s = Shape(x) n = Slice(s, [0], [1]) q = Concat<axis=0>(n, huge) e = Expand(b, q) y = ReduceMax<keepdims=1>(e)"
    )
    case = independent(
        "graph", "float[N,1] x => uint8[N,1] y", body, "", constants={**huge, "b": np.uint8(1)}, opset=18
    )
    with pytest.raises(Exception, match=r"requested b(ytes|uffer)"):
        Meter(case.model, {}).run({"x": np.zeros((1, 1), np.float32)}, 1)
    found = analyse(case.model.SerializeToString())
    assert (found.rows, found.sizes) == ("unknown", None)


def test_memory_is_that_of_the_machine_or_less() -> None:
    """The limit is at least what a test process has."""
    assert find_memory() > 1 << 28
