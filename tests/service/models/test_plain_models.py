"""Plain repositories: what is served in batches, what whole, and what the server says of it."""

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_store import Store
from model_store.errors import BadConfig, BadGraph
from model_store.graphs.configuration import read_default_filename
from service.models.loading import LoadedVersion, load_version
from service.settings import Settings
from tests.support.models import graphs


def load(root: Path, content: bytes, config: str = "", **settings: object) -> LoadedVersion:
    graphs.write_plain(root, "m", content)
    if config:
        (root / "m" / "config.pbtxt").write_text(config)
    version = Store(root, read_default=read_default_filename).find("m")
    return load_version(version, Settings(store=root, **settings))  # type: ignore[arg-type]


def test_graph_that_runs_on_nothing_that_was_tried_serves_untested(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What ONNX Runtime runs on some input is never refused: it serves alone, with a warning that says what helps."""
    odd = graphs.build(
        [helper.make_node("Add", ["x", "c"], ["y"])],
        [("x", TensorProto.FLOAT, ["batch", "samples"])],
        [("y", TensorProto.FLOAT, ["batch", 7777])],
        {"c": np.ones((2, 7777), np.float32)},
    )
    odd_model = onnx.load_from_string(odd)
    odd_model.graph.node.insert(0, helper.make_node("Reshape", ["x", "s"], ["r"]))
    odd_model.graph.initializer.append(numpy_helper.from_array(np.array([2, 7777]), "s"))
    odd_model.graph.node[1].input[0] = "r"
    with caplog.at_level(logging.WARNING, "sluice"):
        loaded = load(tmp_path, odd_model.SerializeToString())
    assert not loaded.signature.batches
    [warning] = [record.getMessage() for record in caplog.records if "untested" in record.getMessage()]
    assert "model_warmup" in warning
    [y] = loaded.session.run({"x": np.ones((2, 7777), np.float32)})
    assert y.shape == (2, 7777)


def test_proof_holds_for_the_sizes_that_ran(tmp_path: Path) -> None:
    """Where the graph ran at one length only, requests of other lengths run alone instead of being refused."""
    fixed = graphs.build(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        [("x", TensorProto.FLOAT, ["batch", "samples"])],
        [("y", TensorProto.FLOAT, ["batch", 32])],
        {"shape": np.array([-1, 32])},
    )
    loaded = load(tmp_path, fixed)
    assert not loaded.signature.batches or loaded.signature.check({"x": np.ones((1, 64), np.float32)}).whole


def test_ids_outside_a_table_are_named_with_the_range(tmp_path: Path) -> None:
    """The graph says which ids there are, counted from either end of the table."""
    [x] = load(tmp_path, graphs.look_up()).signature.graph.inputs
    assert (x.least, x.largest) == (-4, 3)


def test_ids_that_are_shifted_before_they_pick_have_the_range_that_is_left(tmp_path: Path) -> None:
    """A graph that adds 2 to its ids takes those that are in the table then, counted from either end."""
    content = graphs.build(
        [helper.make_node("Add", ["x", "two"], ["at"]), helper.make_node("Gather", ["table", "at"], ["y"])],
        [("x", TensorProto.INT64, ["batch", 1])],
        [("y", TensorProto.FLOAT, ["batch", 1])],
        {"two": np.array(2), "table": np.arange(8, dtype=np.float32)},
    )
    [x] = load(tmp_path, content).signature.graph.inputs
    assert (x.least, x.largest) == (-10, 5)


def test_map_is_refused_with_the_option_that_helps(tmp_path: Path) -> None:
    """A ZipMap at the end of a classifier is no tensor; the reason names the option that leaves it out."""
    maps = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    )
    node = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_value_info("y", maps)],
    )
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 1)]
    content = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    with pytest.raises(BadGraph, match="zipmap"):
        load(tmp_path, content)


def test_initializer_that_is_an_input_too_may_be_left_out(tmp_path: Path) -> None:
    """An input with a value of its own in the file is optional, and replaces that value where it is sent."""
    content = graphs.build(
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        [("x", TensorProto.FLOAT, ["batch", 2]), ("two", TensorProto.FLOAT, [])],
        [("y", TensorProto.FLOAT, ["batch", 2])],
        {"two": np.array(2, np.float32)},
    )
    loaded = load(tmp_path, content)
    x = np.ones((1, 2), np.float32)
    assert [t.optional for t in loaded.signature.graph.inputs] == [False, True]
    assert loaded.session.run(loaded.signature.check({"x": x}).inputs)[0].tolist() == [[2, 2]]
    three = loaded.signature.check({"x": x, "two": np.array(3, np.float32)})
    assert loaded.session.run(three.inputs)[0].tolist() == [[3, 3]]
    assert three.key != loaded.signature.check({"x": x}).key


def test_rows_that_are_not_known_are_batched_only_where_that_is_asked_for(tmp_path: Path) -> None:
    """SLUICE_BATCH_UNPROVED batches a graph that is not understood if its rows pass a trial, and no other."""
    lengths = graphs.build(  # places of the last axis by their own index, in an operator that is not followed
        [helper.make_node("MaxUnpool", ["x", "at"], ["y"], kernel_shape=[2], strides=[2])],
        [("x", TensorProto.FLOAT, ["batch", 1, 2]), ("at", TensorProto.INT64, ["batch", 1, 2])],
        [("y", TensorProto.FLOAT, ["batch", 1, 4])],
    )
    usual = load(tmp_path / "usual", lengths)
    asked = load(tmp_path / "asked", graphs.mixing(), batch_unproved=True)
    assert (usual.rows.verdict, usual.signature.batches) == ("unknown", False)
    assert (asked.rows.verdict, asked.signature.batches) == ("mixing", False)


DOUBLE = 'max_batch_size: 4 input [{ name: "x" data_type: TYPE_FP32 dims: [3] }]'


def test_configuration_shapes_what_callers_see(tmp_path: Path) -> None:
    """A largest batch, and shapes that the graph has otherwise: the same elements in the same order."""
    config = (
        'max_batch_size: 4 input [{ name: "x" data_type: TYPE_FP32 dims: [3, 1] reshape { shape: [3] } }] '
        'output [{ name: "y" data_type: TYPE_FP32 dims: [1, 3] reshape { shape: [3] } }]'
    )
    loaded = load(tmp_path, graphs.double(), config)
    rows = loaded.signature.check({"x": np.ones((2, 3, 1), np.float32)})
    assert (loaded.max_rows, rows.number) == (4, 2)
    assert loaded.session.run(rows.inputs)[0].shape == (2, 1, 3)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (DOUBLE.replace('"x"', '"z"'), "names an input 'z' that the graph does not have: expected one of x"),
        (DOUBLE.replace("[3]", "[5]"), r"expected dims that fit the graph's \['batch', 3\]"),
        (DOUBLE.replace("TYPE_FP32", "TYPE_INT32"), "expected data_type FP32 like the graph's, got INT32"),
    ],
    ids=["name", "dims", "datatype"],
)
def test_configuration_that_does_not_fit_the_graph_says_where(tmp_path: Path, config: str, reason: str) -> None:
    """The model is unavailable, with the tensor, what was expected and what came."""
    with pytest.raises(BadConfig, match=reason):
        load(tmp_path, graphs.double(), config)


def test_configuration_that_cannot_be_read_names_its_line(tmp_path: Path) -> None:
    """A slip in config.pbtxt makes the model unavailable, with the line."""
    with pytest.raises(BadConfig, match=r"line 2|:2"):
        load(tmp_path, graphs.double(), "max_batch_size: 4\ninput [ {\n")


def test_model_of_another_backend_is_refused_by_name(tmp_path: Path) -> None:
    """A folder that something else runs in Triton is no model of this server."""
    with pytest.raises(BadConfig, match="python"):
        load(tmp_path, graphs.double(), 'backend: "python"')


def test_model_that_takes_no_batches_runs_each_request_whole(tmp_path: Path) -> None:
    """max_batch_size 0 says so, whatever was proved of the graph."""
    config = 'max_batch_size: 0 input [{ name: "x" data_type: TYPE_FP32 dims: [-1, 3] }]'
    loaded = load(tmp_path, graphs.double(), config)
    assert (loaded.rows.verdict, loaded.signature.batches) == ("proved", False)
