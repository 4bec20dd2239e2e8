"""How a row's bits vary with other rows: it runs alone, in pairs and in batches."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from model_store.graph import Graph, RowVerdict, Tensor
from model_store.graphs import Arrays
from model_store.graphs.bits import Bits, settle

SHAPE = ("batch", 4)
GRAPH = Graph(
    file="model.onnx",
    inputs=(Tensor(name="x", datatype="FP32", shape=SHAPE, batch_axis=0),),
    outputs=(Tensor(name="y", datatype="FP32", shape=SHAPE, batch_axis=0),),
    rows=RowVerdict(verdict="proved", reason="by hand"),
)
ROWS = np.arange(32, dtype=np.float32).reshape(8, 4) + 1


def settled(run: Callable[[np.ndarray], np.ndarray], longer: np.ndarray | None = None) -> tuple[Graph, Bits]:
    """What is made of a graph that gives so."""

    def runner(inputs: Arrays) -> Sequence[np.ndarray]:
        return [run(inputs["x"])]

    return settle(runner, GRAPH, {"x": ROWS}, 8, () if longer is None else ({"x": longer},))


def test_rows_that_change_in_company_lose_their_batch() -> None:
    """A trial that refutes a proof wins; the reason names the output and the change."""
    graph, bits = settled(lambda x: x * len(x))
    assert all(tensor.batch_axis is None for tensor in (*graph.inputs, *graph.outputs))
    assert graph.rows is not None
    assert (graph.rows.verdict, graph.rows.reason) == ("mixing", bits.refuted)
    assert "output 'y' of a row changes by" in bits.refuted


def test_number_of_rows_that_does_not_follow_the_batch_is_refuted() -> None:
    """Shapes are compared as well as values."""
    graph, bits = settled(lambda x: x[:, : max(1, 4 - len(x))])
    assert graph.inputs[0].batch_axis is None
    assert "in another shape" in bits.refuted


def test_several_rows_are_tried_alone() -> None:
    """One row may be equal by chance, so another that differs is enough."""

    def run(x: np.ndarray) -> np.ndarray:
        return np.nextafter(x, np.inf) if len(x) == 1 and x[0, 0] == ROWS[4, 0] else x

    graph, bits = settled(run)
    assert (graph.inputs[0].batch_axis, bits.text, bits.least_rows) == (0, "exact padded to 2", 2)


def test_bits_that_vary_among_batches_are_rounding() -> None:
    """Where pairs differ from larger batches too, the largest difference is given."""
    _, bits = settled(lambda x: x * np.float32(1 + 1e-6 * len(x)))
    assert (bits.is_exact, bits.text[:10]) == (False, "rounding ≤")


@pytest.mark.parametrize(("fails", "text"), [(False, "exact padded to 2"), (True, "exact")], ids=["runs", "does not"])
def test_larger_sizes_count_where_they_run(fails: bool, text: str) -> None:
    """Kernels depend on the size: what is exact at small sizes may need two rows at larger ones."""

    def run(x: np.ndarray) -> np.ndarray:
        if x.shape[1] == 16 and fails:
            raise ValueError("such a size does not fit")
        return np.nextafter(x, np.inf) if x.shape == (1, 16) else x

    _, bits = settled(run, longer=np.ones((8, 16), np.float32))
    assert (bits.text, bits.is_exact) == (text, True)


def test_nan_is_nan_whatever_its_bits() -> None:
    """The sign and payload of a NaN are no difference; a number in its place is one."""
    signs = np.array([np.nan, -np.nan], np.float32)

    def run(x: np.ndarray) -> np.ndarray:
        y = x.copy()
        y[:, 0] = signs[len(x) % 2]
        return y

    assert settled(run)[1].text == "exact"
    assert settled(lambda x: np.where(len(x) == 1, np.nan, x))[1].refuted
