"""Plain versions: which are served in batches, which alone, and what the server says about it."""

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, ValueInfoProto, helper

from model_store import Store
from model_store.errors import BadGraph
from service.models.loading import LoadedVersion, load_version
from service.settings import Settings
from tests.support.models import graphs
from tests.support.models.triton_models import model_of


def load(root: Path, content: bytes, **settings: object) -> LoadedVersion:
    version = Store(graphs.write_plain(root, "m", content)).find("m")
    return load_version(version, Settings(store=root).replace(**settings))


def test_graph_that_runs_on_nothing_tried_serves_untested(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What ONNX Runtime runs on some input is never refused: it serves alone, with a warning that says what helps."""
    odd = model_of(
        [helper.make_node("Reshape", ["x", "shape"], ["wide"]), helper.make_node("Add", ["wide", "ones"], ["y"])],
        [("x", "FP32", ["batch", "samples"])],
        [("y", "FP32", ["batch", 7777])],
        {"shape": np.array([2, 7777]), "ones": np.ones((2, 7777), np.float32)},
    )
    with caplog.at_level(logging.WARNING, "sluice"):
        loaded = load(tmp_path, odd)
    assert not loaded.signature.batches
    [warning] = [record.getMessage() for record in caplog.records if "untested" in record.getMessage()]
    assert "model_warmup" in warning
    [y] = loaded.session.run({"x": np.ones((2, 7777), np.float32)})
    assert y.shape == (2, 7777)


@pytest.mark.parametrize("opset", [9, 20])
def test_normalisation_in_training_mode_answers_alike_each_time(tmp_path: Path, opset: int) -> None:
    """It keeps its statistics in constants, which are not those of its scale and shift although they are equal."""
    training = {"training_mode": 1} if opset > 9 else {}
    outputs = ["y", "mean", "variance"] if opset > 9 else ["y", "mean", "variance", "saved_mean", "saved_variance"]
    odd = onnx.load_from_string(
        model_of(
            [helper.make_node("BatchNormalization", ["x", "scale", "shift", "m", "v"], outputs, **training)],
            [("x", "FP32", ["batch", 3, 4])],
            [("y", "FP32", ["batch", 3, 4])],
            {name: np.full(3, value, np.float32) for name, value in (("scale", 1), ("shift", 0), ("m", 0), ("v", 1))},
        )
    )
    odd.opset_import[0].version = opset
    loaded = load(tmp_path, odd.SerializeToString())
    assert not loaded.signature.batches  # rows are normalised by the mean of all
    x = np.random.default_rng(0).normal(1, 3, (2, 3, 4)).astype(np.float32)
    expected = (x - x.mean((0, 2), keepdims=True)) / np.sqrt(x.var((0, 2), keepdims=True) + 1e-5)
    for _ in range(3):
        [y] = loaded.session.run({"x": x})
        np.testing.assert_allclose(y, expected, atol=1e-5)


def test_proof_holds_for_the_sizes_that_ran(tmp_path: Path) -> None:
    """Where the graph ran at one length only, requests of other lengths run alone instead of being refused."""
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    tensors = [("x", "FP32", ["batch", "samples"])], [("y", "FP32", ["batch", 32])]
    loaded = load(tmp_path, model_of([node], *tensors, {"shape": np.array([-1, 32])}))
    assert not loaded.signature.batches or loaded.signature.check({"x": np.ones((1, 64), np.float32)}).whole


@pytest.mark.parametrize(("shift", "least", "largest"), [(0, -8, 7), (2, -10, 5)])
def test_ids_outside_a_table_are_named_with_the_range(tmp_path: Path, shift: int, least: int, largest: int) -> None:
    """The graph says which ids are in the table, counted from either end, also where it shifts them first."""
    content = model_of(
        [helper.make_node("Add", ["x", "shift"], ["at"]), helper.make_node("Gather", ["table", "at"], ["y"])],
        [("x", "INT64", ["batch", 1])],
        [("y", "FP32", ["batch", 1])],
        {"shift": np.array(shift), "table": np.arange(8, dtype=np.float32)},
    )
    [x] = load(tmp_path, content).signature.graph.inputs
    assert (x.least, x.largest) == (least, largest)


def test_map_is_refused_with_the_option_that_helps(tmp_path: Path) -> None:
    """A ZipMap at the end of a classifier is no tensor; the reason names the option that leaves it out."""
    number = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, number))
    node = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])]
    graph = helper.make_graph([node], "g", inputs, [helper.make_value_info("y", maps)])
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 1)]
    content = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    with pytest.raises(BadGraph, match="zipmap"):
        load(tmp_path, content)


@pytest.mark.parametrize(
    ("made", "advice"),
    [
        (helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None), "ConcatFromSequence"),
        (helper.make_tensor_value_info("y", TensorProto.INT4, None), "cast it in the graph"),
    ],
    ids=["sequence", "int4"],
)
def test_type_that_no_request_can_carry_is_refused_with_what_to_do(
    tmp_path: Path, made: ValueInfoProto, advice: str
) -> None:
    """Sequences, and numbers of four bits, are refused at load; the reason says how to change the graph."""
    node = helper.make_node("SplitToSequence", ["x"], ["y"])
    if made.type.HasField("tensor_type"):
        node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT4)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])]
    graph = helper.make_graph([node], "g", inputs, [made])
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()
    with pytest.raises(BadGraph, match=rf"tensor 'y' has the type .*, which requests cannot carry: .*{advice}"):
        load(tmp_path, content)


def test_output_that_a_graph_lists_twice_is_served_once(tmp_path: Path) -> None:
    """ONNX Runtime accepts a graph with two outputs of one name; answers then have it once."""
    twice = [("y", "FP32", ["batch", 2])] * 2
    loaded = load(tmp_path, model_of([helper.make_node("Neg", ["x"], ["y"])], [("x", "FP32", ["batch", 2])], twice))
    assert [tensor.name for tensor in loaded.signature.graph.outputs] == loaded.session.output_names == ["y"]
    assert [y.tolist() for y in loaded.session.run({"x": np.ones((1, 2), np.float32)})] == [[[-1, -1]]]


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
    two, three = (loaded.signature.check({"x": x, **more}) for more in ({}, {"two": np.array(3, np.float32)}))
    assert [loaded.session.run(rows.inputs)[0].tolist() for rows in (two, three)] == [[[2, 2]], [[3, 3]]]
    assert two.key != three.key


def test_rows_that_are_not_known_are_batched_only_where_that_is_asked_for(tmp_path: Path) -> None:
    """SLUICE_BATCH_UNPROVED batches a graph that is not understood if its rows pass a trial, and no other."""
    unknown = model_of(  # places of the last axis by their own index, in an operator that is not followed
        [helper.make_node("MaxUnpool", ["x", "at"], ["y"], kernel_shape=[2], strides=[2])],
        [("x", "FP32", ["batch", 1, 2]), ("at", "INT64", ["batch", 1, 2])],
        [("y", "FP32", ["batch", 1, 4])],
    )
    usual = load(tmp_path / "usual", unknown)
    asked = load(tmp_path / "asked", graphs.mixing(), batch_unproved=True)
    assert (usual.rows.verdict, usual.signature.batches) == ("unknown", False)
    assert (asked.rows.verdict, asked.signature.batches) == ("mixing", False)
