"""Graphs that differ in their weights only have one analysis."""

import numpy as np
from onnx import TensorProto, helper

from model_store.rows.graph.fingerprint import fingerprint
from tests.support.models import graphs


def dense(weights: np.ndarray) -> bytes:
    """y = x · weights, and nothing below 0."""
    return graphs.build(
        [helper.make_node("MatMul", ["x", "w"], ["t"]), helper.make_node("Relu", ["t"], ["y"])],
        [("x", TensorProto.FLOAT, ["batch", len(weights)])],
        [("y", TensorProto.FLOAT, ["batch", weights.shape[1]])],
        {"w": weights.astype(np.float32)},
    )


def test_weights_do_not_count() -> None:
    """Two networks of one architecture are one graph to the analysis; another shape is another."""
    draw = np.random.default_rng(0)
    one, other, wider = (dense(draw.standard_normal(shape)) for shape in ((8, 8), (8, 8), (8, 9)))
    assert fingerprint(one) == fingerprint(other) != fingerprint(wider)


def test_numbers_that_may_become_sizes_count() -> None:
    """A tensor of few elements, such as the scales of a resize, is part of it."""
    draw = np.random.default_rng(0)
    assert fingerprint(dense(draw.standard_normal((3, 3)))) != fingerprint(dense(draw.standard_normal((3, 3))))


def test_weights_that_may_decide_what_runs_are_not_set_aside() -> None:
    """A graph with a Loop or an If is analysed by itself."""
    branch = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["r"])],
        "branch",
        [],
        [helper.make_tensor_value_info("r", TensorProto.FLOAT, ["batch", 2])],
    )
    content = graphs.build(
        [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)],
        [("x", TensorProto.FLOAT, ["batch", 2])],
        [("y", TensorProto.FLOAT, ["batch", 2])],
        {"c": np.array(True)},
    )
    assert fingerprint(content) is None
