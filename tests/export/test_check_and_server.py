"""``sluice check`` and the server say the same of a file: batches or not, axes, bits, reasons."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx.external_data_helper import convert_model_to_external_data

from export.check import check_file
from export.errors import ExportError
from model_store import Store, StoreError
from model_store.graph import MAIN
from service.errors import NotReady
from service.models.loading import load_version
from service.settings import Settings
from tests.support.models import graphs
from tests.support.models.text import make_model

SETTINGS = Settings(provider="cpu")
ROW = "float[batch,3] x => float[batch,3] y"
TEXTS = {
    "rows on axis 1": ("batches", "float[length,batch,3] x => float[length,batch,2] y", "y = MatMul(x, w[3,2])"),
    "mean over the last axis": (
        "batches",
        "float[batch,width] x => float[batch,width] y",
        "mean = ReduceMean<keepdims=1>(x, [-1]) y = Sub(x, mean)",
    ),
    "another name of the batch in the output": ("batches", "float[batch,3] x => float[rows,3] y", "y = Neg(x)"),
    "runs at one width only": ("batches", "float[batch,width] x => float[batch,2] y", "y = MatMul(x, ones[224,2])"),
    "scale of all rows": (
        "whole",
        ROW,
        "q, scale, zero = DynamicQuantizeLinear(x) y = DequantizeLinear(q, scale, zero)",
    ),
    "number of rows added": (
        "whole",
        ROW,
        "shape = Shape<start=0, end=1>(x) rows = Cast<to=1>(shape) y = Add(x, rows)",
    ),
    "one number for the batch": ("whole", "float[n,3] x => float y", "y = ReduceSum<keepdims=0>(x)"),
    "never runs": ("whole", "float[batch,3] x => float[batch,999983] y", "y = Reshape(x, [0,999983])"),
    "runs up to 40 rows, all alike": (
        "whole",
        ROW,
        "rows = Shape<start=0, end=1>(x) constant = Slice(ones[40,3], [0], rows) y = Add(x, constant)",
    ),
    "list of tensors": ("refused", "float[batch,3] x => seq(float[batch,3]) y", "y = SplitToSequence(x)"),
}


def wide_product() -> bytes:
    """A product of matrices so wide that one row may be summed in another order than several."""
    w = (np.random.default_rng(0).standard_normal((700, 300)) / 30).astype(np.float32)
    return make_model("float[batch,700] x => float[batch,300] y", "z = MatMul(x, w) y = Exp(z)", w=w)


def with_optional_input() -> bytes:
    """y = x * k, where a request may leave out k."""
    return make_model("float[batch,3] x, float[3] k => float[batch,3] y", "y = Mul(x, k)", k=[1.0, 2.0, 3.0])


def of_any_rank() -> bytes:
    model = onnx.load_from_string(make_model("float[n] x => float[n] y", "y = Neg(x)"))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.ClearField("shape")
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
    *(graphs.greatest, wide_product, with_optional_input),
)
WHOLE = (graphs.one_at_a_time, graphs.draw, graphs.mixing, graphs.exhausting, of_any_rank)
CASES = [
    *(pytest.param(make, "batches", id=make.__name__) for make in BATCHES),
    *(pytest.param(make, "whole", id=make.__name__) for make in WHOLE),
    *(pytest.param(partial(make_model, *text), serves, id=name) for name, (serves, *text) in TEXTS.items()),
]


@pytest.mark.parametrize(("make", "serves"), CASES)
def test_check_says_what_the_server_does(tmp_path: Path, make: Callable[[], bytes], serves: str) -> None:
    """Tensors, axes, ranges, verdict, reason, bits and the reason of a refusal are equal."""
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
    """Shapes, largest batches and refusals of a configuration are equal."""
    graphs.write_plain(tmp_path, "m", graphs.double())
    (tmp_path / "m" / "config.pbtxt").write_text(config)
    assert agree(tmp_path / "m" / "1" / "model.onnx", tmp_path) == serves


def test_neither_loads_weights_that_are_not_there(tmp_path: Path) -> None:
    """A file without its weights is refused by both for the same reason."""
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
    """ONNX Runtime loads it; nothing is known of its rows, so it is served without batches."""
    path = graphs.write_plain(tmp_path, "m", b"") / "m" / "1" / "model.onnx"
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.add_session_config_entry("session.save_model_format", "ORT")
    ort.InferenceSession(graphs.double(), options)
    assert agree(path, tmp_path) == "whole"
