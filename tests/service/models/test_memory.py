"""What a run takes in memory, by the size of a row."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from model_store import Store
from model_store.graph import Graph, RowVerdict, RunBytes, Terms
from model_store.graphs.sessions import CpuSession, describe_session
from model_store.manifest import Batching, Manifest
from service.engine.batching.cost import CostModel
from service.models import loading, memory
from service.models.loading import load_version
from service.models.memory import fit, join_terms, learn_memory, limit_elements, limit_rows
from service.settings import Settings
from tests.support.models import graphs
from tests.support.texts.models import make_embedder

FLOAT = TensorProto.FLOAT


def graph_of(content: bytes) -> Graph:
    described = describe_session(CpuSession(content).raw, "m.onnx")
    inputs = tuple(tensor.model_copy(update={"batch_axis": 0}) for tensor in described.inputs)
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
    content = graphs.build(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
        [("x", FLOAT, ["batch", 1, "height", "width"])],
        [("y", FLOAT, ["batch", 16, "height", "width"])],
        {"w": np.ones((16, 1, 3, 3), np.float32)},
    )
    found = learn_memory(content, {}, graph_of(content), {"x": np.zeros((3, 1, 8, 8), np.float32)})
    assert found == pytest.approx((0.0, 2 * 4 * (1 + 16), 0.0), abs=1)


def test_memory_of_attention_grows_with_the_square() -> None:
    """A row ten times as long takes a hundred times as much; of a graph that does not run alone nothing is known."""
    content = attention()
    found = learn_memory(content, {}, graph_of(content), {"x": np.zeros((1, 16, 2), np.float32)})
    assert found is not None
    assert found[2] == pytest.approx(2 * 4 / 4)  # of n elements, n / 2 times n / 2 scores
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
    """There are as many terms as points."""
    assert fit(points) == (None if terms is None else pytest.approx(terms))


@pytest.mark.parametrize(
    ("measured", "learned", "terms"),
    [
        (None, None, None),
        ((1.0, 2.0, 0.0), None, (1.0, 2.0, 0.0)),
        (None, (3.0, 1.0, 0.5), (3.0, 1.0, 0.5)),
        ((1.0, 2.0, 0.0), (3.0, 1.0, 0.5), (3.0, 2.0, 0.5)),
    ],
)
def test_bound_of_a_manifest_is_only_raised(measured: Terms | None, learned: Terms | None, terms: Terms | None) -> None:
    """What is learned at load counts where it is more than the manifest says, or where the manifest says nothing."""
    assert join_terms(measured, learned) == terms


@pytest.mark.parametrize("run_bytes", [None, RunBytes(fixed=5.0, linear=7.0, square=1.0)])
def test_large_weights_have_the_bound_of_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_bytes: RunBytes | None
) -> None:
    """Nothing is learned of a graph whose weights are too large to open it once more."""
    monkeypatch.setattr(memory, "is_large", lambda weights: True)
    content = attention()
    described = graph_of(content)
    outputs = tuple(tensor.model_copy(update={"batch_axis": 0}) for tensor in described.outputs)
    facts = {"file": "main.onnx", "outputs": outputs, "rows": RowVerdict(verdict="proved"), "run_bytes": run_bytes}
    manifest = Manifest(name="m", task="tensors", graphs={"main": described.model_copy(update=facts)})
    loaded = load_version(Store(tmp_path).publish(manifest, {"main.onnx": content}), Settings(store=tmp_path))
    assert loaded.memory == (None if run_bytes is None else run_bytes.terms)


@pytest.mark.parametrize(("weight_bytes", "threads"), [((64 << 20) + 1, 1), (64 << 20, 4)])
def test_large_weights_are_not_held_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weight_bytes: int, threads: int
) -> None:
    """A model above 64 MiB is not tried on all cores: it would be opened a second time for that."""
    asked: list[int] = []

    def learn(session: object, ready: object, open_on: object, threads: int, *_: object) -> tuple[CostModel, None]:
        asked.append(threads)
        return CostModel(), None

    monkeypatch.setattr(loading, "measure_costs", learn)
    monkeypatch.setattr(loading, "count_cores", lambda: 4)
    monkeypatch.setattr(loading, "count_bytes", lambda *_: weight_bytes)
    [version] = Store(graphs.write_plain(tmp_path, "m", graphs.double())).versions("m")
    load_version(version, Settings(store=tmp_path))
    assert asked == [threads]


def test_budget_of_a_batch_of_texts_is_that_of_an_efficient_batch() -> None:
    """Or the one of the manifest, if that is less; other graphs, and rows of one length, have none."""
    manifest = make_embedder().manifest
    cost = CostModel()
    for rows in (1, 2, 4, 8, 16):
        cost.observe(rows, 0.1 + 0.1 * rows)
    efficient = cost.efficient(16)
    assert limit_elements("main", manifest, cost, 16, 20) == efficient * 20
    assert limit_elements("main", manifest, cost, 16, None) is None
    assert limit_elements("other", manifest, cost, 16, 20) is None
    small = manifest.model_copy(update={"batching": Batching(max_tokens=32)})
    assert limit_elements("main", small, cost, 16, 20) == 2 * 32
    assert (limit_rows("main", manifest, 16), limit_rows("main", small, 16)) == (16, 8)
