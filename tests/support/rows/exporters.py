"""ONNX files of the architectures by both of PyTorch's exporters."""

import io
from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from torch.export._patches import (  # noqa: E402  # behind the check that torch is there
    register_gru_while_loop_decomposition,
    register_lstm_while_loop_decomposition,
)

from tests.support.kinds.plain import quiet  # noqa: E402
from tests.support.rows.architectures import BATCH, Architecture  # noqa: E402

UNSUPPORTED = {
    ("gpt2-no-mask", "script"): "this exporter has no aten::diff, which finds texts that share a row",
    ("llama-no-mask", "script"): "this exporter has no aten::diff, which finds texts that share a row",
    ("patchtst", "script"): "ONNX Runtime refuses the file: this exporter writes shapes that do not fit",
}
"""What cannot be had, and why."""


def export_dynamo(architecture: Architecture, opset: int) -> bytes:
    """``torch.onnx.export(dynamo=True)``: the model as one file."""
    given = architecture.module.forward.__code__.co_flags & 4  # has *tensors
    axes = tuple(architecture.dynamic[name] for name in architecture.inputs)
    for operator in (torch.ops.aten.lstm.input, torch.ops.aten.gru.input):
        operator._dispatch_cache.clear()  # else the second recurrent network of a process takes the first one's kernel
    with quiet(), register_lstm_while_loop_decomposition(), register_gru_while_loop_decomposition():
        program = torch.onnx.export(
            architecture.module,
            tuple(architecture.inputs.values()),
            dynamo=True,
            dynamic_shapes=(axes,) if given else axes,
            input_names=list(architecture.inputs),
            output_names=list(architecture.outputs),
            opset_version=opset,
            verbose=False,
        )
    content: bytes = program.model_proto.SerializeToString()
    return content


def export_script(architecture: Architecture, opset: int) -> bytes:
    """``torch.onnx.export(dynamo=False)``, which traces: the model as one file."""
    axes = dict(architecture.dynamic) | {name: {0: BATCH} for name in architecture.outputs}
    file = io.BytesIO()
    with quiet():
        torch.onnx.export(
            architecture.module,
            tuple(architecture.inputs.values()),
            file,
            dynamo=False,
            dynamic_axes=axes,
            input_names=list(architecture.inputs),
            output_names=list(architecture.outputs),
            opset_version=opset,
        )
    return file.getvalue()


EXPORTERS: dict[str, Callable[[Architecture], bytes]] = {
    "dynamo": lambda architecture: export_dynamo(architecture, 20),
    "dynamo18": lambda architecture: export_dynamo(architecture, 18),
    "script": lambda architecture: export_script(architecture, 17),
}
