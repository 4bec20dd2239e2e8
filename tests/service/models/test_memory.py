"""What a run takes in memory, by the size of a row."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from model_store import Store
from model_store.graph import Graph
from model_store.graphs.sessions import CpuSession, describe_session
from service.engine.batching.cost import CostModel
from service.models import loading
from service.models.loading import load_version
from service.models.memory import fit, learn_memory
from service.settings import Settings
from tests.support.models import graphs

FLOAT = TensorProto.FLOAT


def graph_of(content: bytes, axis: int | None = 0) -> Graph:
    described = describe_session(CpuSession(content).raw, "m.onnx")
    inputs = tuple(tensor.model_copy(update={"batch_axis": axis}) for tensor in described.inputs)
    return described.model_copy(update={"inputs": inputs})


def attention() -> bytes:
    """y = x xᵀ x: every element of a row meets every other one."""
    return graphs.build(
        [
            helper.make_node("Transpose", ["x"], ["turned"], perm=[0, 2, 1]),
            helper.make_node("MatMul", ["x", "turned"], ["scores"]),
            helper.make_node("MatMul", ["scores", "x"], ["y"]),
        ],
        [("x", FLOAT, ["batch", "length", 2])],
        [("y", FLOAT, ["batch", "length", 2])],
    )


def test_memory_of_a_convolution_grows_with_its_elements() -> None:
    """Sixteen channels made of one take sixteen times the input, at any size."""
    weights = {"w": np.ones((16, 1, 3, 3), np.float32)}
    content = graphs.build(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
        [("x", FLOAT, ["batch", 1, "height", "width"])],
        [("y", FLOAT, ["batch", 16, "height", "width"])],
        weights,
    )
    found = learn_memory(content, {}, graph_of(content), {"x": np.zeros((3, 1, 8, 8), np.float32)})
    assert found == pytest.approx((0.0, 2 * 4 * (1 + 16), 0.0), abs=1)


def test_memory_of_attention_grows_with_the_square() -> None:
    """A row ten times as long takes a hundred times as much for its scores."""
    content = attention()
    found = learn_memory(content, {}, graph_of(content), {"x": np.zeros((1, 16, 2), np.float32)})
    assert found is not None
    _, _, square = found
    assert square == pytest.approx(2 * 4 / 4)  # of n elements, n / 2 times n / 2 scores


def test_graph_that_does_not_run_alone_tells_nothing() -> None:
    """Its requests are not bounded by what is not known."""
    content = attention()
    assert learn_memory(content, {}, graph_of(content), {"x": np.zeros((1, 16, 3), np.float32)}) is None
    assert learn_memory(b"no graph", {}, graph_of(content), {}) is None


@pytest.mark.parametrize(
    ("points", "terms"),
    [
        ([], None),
        ([(10.0, 50.0)], (0.0, 5.0, 0.0)),
        ([(10.0, 50.0), (20.0, 80.0)], (20.0, 3.0, 0.0)),
        ([(1.0, 6.0), (2.0, 11.0), (4.0, 27.0)], (3.0, 2.0, 1.0)),
    ],
)
def test_terms_go_through_the_points(points: list[tuple[float, float]], terms: tuple[float, ...] | None) -> None:
    """As many as there are."""
    assert fit(points) == (None if terms is None else pytest.approx(terms))


@pytest.mark.parametrize(("most_bytes", "threads"), [(0, 1), (1 << 20, 4)])
def test_large_weights_are_not_held_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_bytes: int, threads: int
) -> None:
    """A model of more than the bound is not even tried on all cores, for which it would be opened once more."""
    asked: list[int] = []

    def learn(session: object, ready: object, open_on: object, threads: int, *_: object) -> tuple[CostModel, None]:
        asked.append(threads)
        return CostModel(), None

    monkeypatch.setattr(loading, "learn", learn)
    monkeypatch.setattr(loading, "count_cores", lambda: 4)
    monkeypatch.setattr(loading, "MOST_BYTES_TWICE", most_bytes)
    [version] = Store(graphs.write_plain(tmp_path, "m", graphs.double())).versions("m")
    load_version(version, Settings(store=tmp_path))
    assert asked == [threads]
