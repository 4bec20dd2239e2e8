"""``sluice check`` and the server say the same of a file: batches or not, axes, bits, reasons."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data

from export.check import check_file
from export.errors import ExportError
from model_store import Store, StoreError
from model_store.graph import MAIN
from service.errors import NotReady
from service.models.loading import load_version
from service.settings import Settings
from tests.support.models import graphs
from tests.support.models.graphs import build

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
SETTINGS = Settings(provider="cpu")


def time_major() -> bytes:
    """y = x @ w for x [length, batch, 3]: rows lie on axis 1."""
    return build(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", FLOAT, ["length", "batch", 3])],
        [("y", FLOAT, ["length", "batch", 2])],
        {"w": np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32)},
    )


def mean_over_rows_elsewhere() -> bytes:
    """y = x - the mean over the last axis of x: rows are independent."""
    return build(
        [
            helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        [("x", FLOAT, ["batch", "width"])],
        [("y", FLOAT, ["batch", "width"])],
        {"axes": np.array([-1])},
    )


def wide_product() -> bytes:
    """A product of matrices so wide that one row may be summed in another order than several."""
    draw = np.random.default_rng(0)
    return build(
        [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Exp", ["z"], ["y"])],
        [("x", FLOAT, ["batch", 700])],
        [("y", FLOAT, ["batch", 300])],
        {"w": (draw.standard_normal((700, 300)) / 30).astype(np.float32)},
    )


def quantised() -> bytes:
    """The scale is that of all rows together."""
    return build(
        [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
        ],
        [("x", FLOAT, ["batch", 3])],
        [("y", FLOAT, ["batch", 3])],
    )


def counting() -> bytes:
    """y = x + the number of rows."""
    return build(
        [
            helper.make_node("Shape", ["x"], ["shape"], start=0, end=1),
            helper.make_node("Cast", ["shape"], ["rows"], to=FLOAT),
            helper.make_node("Add", ["x", "rows"], ["y"]),
        ],
        [("x", FLOAT, ["batch", 3])],
        [("y", FLOAT, ["batch", 3])],
    )


def total() -> bytes:
    """One number for the whole batch."""
    return build(
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)], [("x", FLOAT, ["n", 3])], [("y", FLOAT, [])]
    )


def renamed() -> bytes:
    return build([helper.make_node("Neg", ["x"], ["y"])], [("x", FLOAT, ["batch", 3])], [("y", FLOAT, ["rows", 3])])


def of_one_width() -> bytes:
    """The width is free as the file has it, and runs as 224 only."""
    return build(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", FLOAT, ["batch", "width"])],
        [("y", FLOAT, ["batch", 2])],
        {"w": np.ones((224, 2), np.float32)},
    )


def few_rows_only() -> bytes:
    """A constant of 40 rows is added to those that there are, so no more run: each row gets the same."""
    return build(
        [
            helper.make_node("Shape", ["x"], ["rows"], start=0, end=1),
            helper.make_node("Slice", ["constant", "zero", "rows"], ["ones"]),
            helper.make_node("Add", ["x", "ones"], ["y"]),
        ],
        [("x", FLOAT, ["batch", 3])],
        [("y", FLOAT, ["batch", 3])],
        {"constant": np.ones((40, 3), np.float32), "zero": np.array([0])},
    )


def never_runs() -> bytes:
    """No number of rows runs."""
    return build(
        [helper.make_node("Reshape", ["x", "to"], ["y"])],
        [("x", FLOAT, ["batch", 3])],
        [("y", FLOAT, ["batch", 999983])],
        {"to": np.array([0, 999983])},
    )


def with_optional_input() -> bytes:
    """y = x * k, where a request may leave out k."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "k"], ["y"])],
        "optional",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in (("x", ["batch", 3]), ("k", [3]))],
        [helper.make_tensor_value_info("y", FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.array([1, 2, 3], np.float32), "k")],
    )
    return save(graph)


def of_any_rank() -> bytes:
    value = helper.make_value_info("x", helper.make_tensor_type_proto(FLOAT, None))
    output = helper.make_value_info("y", helper.make_tensor_type_proto(FLOAT, None))
    return save(helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "any", [value], [output]))


def list_of_tensors() -> bytes:
    """A sequence, which no request can carry."""
    output = helper.make_value_info("y", helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None)))
    inputs = [helper.make_tensor_value_info("x", FLOAT, ["batch", 3])]
    return save(helper.make_graph([helper.make_node("SplitToSequence", ["x"], ["y"])], "list", inputs, [output]))


def save(graph: onnx.GraphProto) -> bytes:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content


def agree(path: Path, root: Path) -> str:
    """Checks the file by both, as version 1 of ``m``. Returns what is done with it."""
    version = Store(root).find("m")
    found = check_file(path).found
    if found.manifest is None:
        with pytest.raises((NotReady, StoreError)) as refusal:
            load_version(version, SETTINGS)
        assert found.refusal == str(refusal.value)
        return found.serves
    loaded = load_version(version, SETTINGS)
    graph = found.manifest.graphs[MAIN]
    assert graph == loaded.signature.graph
    assert (graph.rows, found.bits.text) == (loaded.rows, loaded.bits)
    assert found.serves == ("batches" if loaded.signature.batches else "whole")
    assert found.manifest.batching == loaded.manifest.batching
    return found.serves


BATCHES = (
    *(graphs.double, graphs.look_up, graphs.add, graphs.triple_bf16, graphs.recurrent, graphs.classifier, graphs.grow),
    *(graphs.greatest, time_major, mean_over_rows_elsewhere, wide_product, renamed, of_one_width),
    with_optional_input,
)
WHOLE = (
    *(
        graphs.one_at_a_time,
        graphs.draw,
        graphs.mixing,
        graphs.exhausting,
        quantised,
        counting,
        total,
        never_runs,
        few_rows_only,
    ),
    of_any_rank,
)


@pytest.mark.parametrize(
    ("make", "serves"),
    [*((make, "batches") for make in BATCHES), *((make, "whole") for make in WHOLE), (list_of_tensors, "refused")],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_check_says_what_the_server_does(tmp_path: Path, make: Callable[[], bytes], serves: str) -> None:
    """Tensors, axes of rows, ranges, verdict, reason and bits are the same; so is the reason for a refusal."""
    graphs.write_plain(tmp_path, "m", make())
    assert agree(tmp_path / "m" / "1" / "model.onnx", tmp_path) == serves


@pytest.mark.parametrize(
    ("config", "serves"),
    [
        ("max_batch_size: 8", "batches"),
        ("max_batch_size: 1", "batches"),
        ("max_batch_size: 0", "whole"),
        ('max_batch_size: 8 input { name: "x" data_type: TYPE_FP32 dims: [3, 1] reshape { shape: 3 } }', "batches"),
        ('max_batch_size: 8 input { name: "x" data_type: TYPE_INT32 dims: 3 }', "refused"),
        ('max_batch_size: 8 output { name: "z" data_type: TYPE_FP32 dims: 3 }', "refused"),
        ('input { name: "x" data_type: TYPE_FP32 dims: 3 }', "batches"),
        ('input { name: "x" data_type: TYPE_FP32 dims: [-1, 3] } output { name: "y" }', "whole"),
        ('platform: "tensorrt_plan"', "refused"),
        ("max_batch_size: many", "refused"),
    ],
)
def test_check_reads_a_configuration_as_the_server_does(tmp_path: Path, config: str, serves: str) -> None:
    """Shapes of callers, largest batches and what does not fit: one reading for both."""
    graphs.write_plain(tmp_path, "m", graphs.double())
    (tmp_path / "m" / "config.pbtxt").write_text(config)
    assert agree(tmp_path / "m" / "1" / "model.onnx", tmp_path) == serves


def test_neither_loads_weights_that_are_not_there(tmp_path: Path) -> None:
    """A file without its weights cannot be read by either, for the same reason; with them both batch."""
    graphs.write_plain(tmp_path, "m", b"")
    path = tmp_path / "m" / "1" / "model.onnx"
    model = onnx.load_model_from_string(graphs.double())
    convert_model_to_external_data(model, location="w.bin", size_threshold=0)
    onnx.save_model(model, path)
    assert agree(path, tmp_path) == "batches"
    path.with_name("w.bin").unlink()
    with pytest.raises(StoreError, match=r"w\.bin") as refused:
        load_version(Store(tmp_path).find("m"), SETTINGS)
    with pytest.raises(ExportError) as unreadable:
        check_file(path)
    assert str(unreadable.value) == f"{path}: {refused.value}"


def test_file_of_onnx_runtimes_own_format_is_served_whole(tmp_path: Path) -> None:
    """ONNX Runtime loads what no ONNX parser reads: nothing is known of its rows, and it serves all the same."""
    path = graphs.write_plain(tmp_path, "m", b"") / "m" / "1" / "model.onnx"
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.add_session_config_entry("session.save_model_format", "ORT")
    ort.InferenceSession(graphs.double(), options)
    assert agree(path, tmp_path) == "whole"
