"""Models that Triton may serve and this server cannot, with the reason."""

import re

import pytest

from model_store.triton import read_config, refusal
from tests.support.models import triton_texts as configs

INPUT = 'name: "x" data_type: TYPE_FP32 dims: [ 1 ]'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (configs.ENSEMBLE, r"an ensemble of other models \(preprocess, classify\): pipelines of models are not served"),
        ('ensemble_scheduling { step { model_name: "a" } }', r"an ensemble of other models \(a\)"),
        (configs.TENSORRT, "backend 'tensorrt': this server runs ONNX files only"),
        ('platform: "pytorch_libtorch"', "platform 'pytorch_libtorch': this server runs ONNX files only"),
        ('backend: "onnxruntime" platform: "tensorrt_plan"', "platform 'tensorrt_plan'"),
        ('default_model_filename: "model.py"', "default_model_filename 'model.py': .*, but Python runs this one"),
        ('backend: "python" input { name: "x" }', "backend 'python'"),
        (configs.RAGGED, "'INDEX' has allow_ragged_batch"),
        (configs.RAGGED.replace("allow_ragged_batch: true", ""), r"batch_output \('COUNTS', 'SCATTERED'\)"),
        ("batch_input { }", r"batch_output \(''\)"),
        (f"input {{ {INPUT} is_shape_tensor: true }}", "'x' has is_shape_tensor"),
        (f"output {{ {INPUT} is_shape_tensor: true }}", "'x' has is_shape_tensor"),
        (f"output {{ {INPUT} is_non_linear_format_io: true }}", "'x' has is_non_linear_format_io"),
        ("model_transaction_policy { decoupled: true }", "model_transaction_policy is decoupled"),
        (configs.ITERATIVE, "sequence_batching has iterative_sequence"),
    ],
)
def test_model_that_cannot_be_served_is_refused_with_the_reason(text: str, reason: str) -> None:
    """The reason names the feature that this server does not have."""
    assert re.search(reason, refusal(read_config(text, "config.pbtxt")) or "none")


@pytest.mark.parametrize(
    "text",
    [
        "",
        'backend: "onnxruntime"',
        'platform: "onnxruntime_onnx"',
        'platform: "onnxruntime_onnx" backend: "onnxruntime" default_model_filename: "model.py"',
        'default_model_filename: "network.onnx"',
        configs.BATCHES,
        configs.SEQUENCE,
    ],
)
def test_onnx_model_is_not_refused(text: str) -> None:
    """ONNX Runtime by either name, or by none, is served, with batches and with sequences."""
    assert refusal(read_config(text, "config.pbtxt")) is None
