"""What a ``config.pbtxt`` changes of a plain model, and what it leaves to the graph."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from model_store import Store
from model_store.errors import BadConfig
from service.errors import InvalidInput
from service.loading import Loaded, load_version
from service.settings import Settings
from tests import graphs
from tests.triton_models import model_of, tensor_text, write_model

FIRST = 'input { name: "x" }'
LAST = 'output { name: "y" }'


def load(root: Path, config: str | None, content: bytes, **files: str) -> Loaded:
    write_model(root, "model", config, content, **files)
    return load_version(Store(root).find("model"), Settings(store=root, provider="cpu"))


def shapes_of(loaded: Loaded) -> tuple[tuple[int | str, ...], ...]:
    """Of the first input and the first output."""
    return loaded.signature.graph.inputs[0].shape, loaded.signature.graph.outputs[0].shape


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ('input { name: "z" dims: [ 3 ] }', r"names an input 'z' that the graph has not: there are x"),
        ('max_batch_size: 4 output { name: "x" dims: [ 3 ] }', "names an output 'x' that the graph has not"),
        (f'{FIRST} output {{ name: "y" dims: [ -1, 4 ] }}', r"'y': expected dims that fit the graph's .*got \[-1, 4\]"),
        ('max_batch_size: 4 input { name: "x" dims: [ -1, 3 ] }', "after the batch of max_batch_size, got"),
        ('input { name: "x" data_type: TYPE_INT8 }', "input 'x': expected data_type FP32 like the graph's, got INT8"),
    ],
)
def test_configuration_that_does_not_fit_the_graph_is_refused(tmp_path: Path, config: str, text: str) -> None:
    """The model is not ready, and the reason has the tensor, what was expected and what came."""
    with pytest.raises(BadConfig, match=text):
        load(tmp_path, config, graphs.double())


def test_missing_labels_are_refused(tmp_path: Path) -> None:
    """A file of labels that the configuration names and that is not there is a reason not to serve."""
    with pytest.raises(BadConfig, match=r"names the labels 'labels.txt', which is not in the folder of the model"):
        load(tmp_path, 'output { name: "y" label_filename: "labels.txt" }', graphs.double())


@pytest.mark.parametrize(
    ("config", "batches"),
    [
        ("", True),
        (FIRST, True),
        (FIRST + LAST, False),
        ('max_batch_size: 4 input { name: "x" data_type: TYPE_FP32 }', True),
        ('input { name: "x" dims: [ 3 ] }', True),
        ('output { name: "y" data_type: TYPE_FP32 dims: [ -1, 3 ] }', True),
        ('input { name: "x" dims: [ 1, 3 ] }', False),
    ],
)
def test_what_is_left_out_is_as_in_the_graph(tmp_path: Path, config: str, batches: bool) -> None:
    """Names, types and sizes that a configuration leaves out are the graph's; so is the batch, as long as both the
    inputs and the outputs are not given, and no size is fixed where the batch lies."""
    loaded = load(tmp_path, config, graphs.double())
    assert loaded.signature.batches is batches
    assert [len(shape) for shape in shapes_of(loaded)] == [2, 2]
    rows = 4 if batches else 1
    [y] = loaded.session.run(loaded.signature.check({"x": np.ones((rows, 3), np.float32)}).inputs)
    assert y.tolist() == [[2.0, 2.0, 2.0]] * rows
    assert loaded.max_rows == (4 if "max_batch_size" in config else 64 if batches else 1)


def test_rows_that_are_numbers_are_seen_with_an_axis(tmp_path: Path) -> None:
    """A graph's [batch] is [batch, 1] for callers of a configured model that batches, as dims are never empty."""
    loaded = load(tmp_path, "max_batch_size: 8", graphs.scalars())
    assert shapes_of(loaded) == (("batch", 1), ("batch", 1))
    assert loaded.session.run({"x": np.ones((3, 1), np.float32)})[0].shape == (3, 1)
    with pytest.raises(InvalidInput, match=r"expected at most 8 rows, the max_batch_size .*, got 9"):
        loaded.signature.check({"x": np.ones((9, 1), np.float32)})


def test_batch_that_lies_elsewhere_is_not_shared(tmp_path: Path) -> None:
    """Where callers put their rows on another axis than the graph does, each request is a run of its own."""
    content = model_of(
        [helper.make_node("ReduceSum", ["x", "first"], ["y"], keepdims=0)],
        [("x", "FP32", ["time", "batch", 3])],
        [("y", "FP32", ["batch", 3])],
        {"first": np.array([0])},
    )
    assert load(tmp_path / "plain", None, content).signature.axes == {"x": 1}
    loaded = load(tmp_path / "triton", "max_batch_size: 8\n" + tensor_text("input", "x", "FP32", (-1, 3)), content)
    assert not loaded.signature.batches
    assert loaded.session.run({"x": np.ones((2, 5, 3), np.float32)})[0].tolist() == [[2.0] * 3] * 5


def test_rows_that_mix_are_limited_by_the_configuration_too(tmp_path: Path) -> None:
    """A model that is never batched takes as many rows of one request as max_batch_size says, equal in all inputs."""
    content = model_of(
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=1),
            helper.make_node("Add", ["mean", "z"], ["y"]),
        ],
        [("x", "FP32", [None, 2]), ("z", "FP32", [None, 2])],
        [("y", "FP32", [None, 2])],
    )
    loaded = load(tmp_path, "max_batch_size: 2", content)
    assert (loaded.signature.batches, loaded.rows.verdict) == (False, "mixing")
    two = np.ones((2, 2), np.float32)
    assert loaded.signature.check({"x": two, "z": two}).number == 1
    for z, text in ((np.ones((1, 2), np.float32), "expected as many rows in each, got x 2, z 1"),):
        with pytest.raises(InvalidInput, match=text):
            loaded.signature.check({"x": two, "z": z})
    with pytest.raises(InvalidInput, match="at most 2 rows"):
        loaded.signature.check({"x": two.repeat(2, 0), "z": two.repeat(2, 0)})


def test_labels_are_those_of_their_output(tmp_path: Path) -> None:
    """Each line of the file names a class of the output, other outputs have none."""
    config = 'output [ { name: "y" label_filename: "labels.txt" } ]'
    loaded = load(tmp_path, config, graphs.echo(TensorProto.FLOAT), labels__txt="cat\nnewt\n")
    assert loaded.manifest.output_labels == {"y": ("cat", "newt")}
