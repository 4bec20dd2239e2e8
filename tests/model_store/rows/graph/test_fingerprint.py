"""Graphs that differ only in their weights share one analysis."""

import numpy as np

from model_store.rows.graph.fingerprint import fingerprint
from tests.support.models.text import make_model


def dense(weights: np.ndarray) -> bytes:
    """y = x · weights, and nothing below 0."""
    rows, columns = weights.shape
    body = "t = MatMul(x, w) y = Relu(t)"
    return make_model(f"float[batch,{rows}] x => float[batch,{columns}] y", body, w=weights.astype(np.float32))


def test_weights_do_not_count() -> None:
    """Two networks of one architecture have one fingerprint; another shape has another."""
    draw = np.random.default_rng(0)
    one, other, wider = (dense(draw.standard_normal(shape)) for shape in ((8, 8), (8, 8), (8, 9)))
    assert fingerprint(one) == fingerprint(other) != fingerprint(wider)


def test_numbers_that_may_become_sizes_count() -> None:
    """Small tensors, such as the scales of a resize, are part of the fingerprint."""
    draw = np.random.default_rng(0)
    assert fingerprint(dense(draw.standard_normal((3, 3)))) != fingerprint(dense(draw.standard_normal((3, 3))))


def test_weights_that_may_decide_what_runs_are_not_set_aside() -> None:
    """A graph with a Loop or an If has no fingerprint."""
    body = """
    y = If<then_branch = t () => (float[batch,2] r) { r = Relu(x) }, else_branch = e () => (float[batch,2] n) {
        n = Neg(x)
    }>(c)
    """
    content = make_model("float[batch,2] x => float[batch,2] y", body, c=True)
    assert fingerprint(content) is None
