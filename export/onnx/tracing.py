"""PyTorch -> ONNX by torch's own exporters: the newer first, and the older one where the newer itself is at fault."""

import contextlib
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import onnx
import torch
import torch.export._patches as patches

from export.errors import ExportError
from export.original import Original
from export.refusals.hints import diagnose
from export.spec import BATCH, GraphSpec

DYNAMO = f"torch.onnx dynamo, onnxscript {version('onnxscript')}"
_NEWEST_TORCHSCRIPT_OPSET = 20
_SHOWN_REASON = 300


@dataclass(frozen=True, slots=True)
class Traced:
    """A model as an exporter wrote it. ``exporter`` names that one and, where it was not the first, why."""

    model: onnx.ModelProto
    exporter: str
    fell_back: bool = False


def trace_module(original: Original) -> Traced:
    """The module as an ONNX model, named axes included. Raises ExportError: the reason, and what to change."""
    spec = original.spec
    try:
        return Traced(_export_dynamo(original), DYNAMO)
    except Exception as error:  # noqa: BLE001  # whatever it is, its diagnosis is raised or noted
        failure, cause = diagnose(error), error
    step, place = (f" at {failure.step}" if failure.step else ""), (f" in {failure.place}" if failure.place else "")
    text = f"{spec.name}: exporting to ONNX failed{step}{place} ({failure.reason}): {failure.hint.advice}"
    if failure.hint.own and not _always_fixes_length(original.module):
        raise ExportError(text) from cause
    try:
        model = _export_torchscript(original)
    except Exception as error:  # noqa: BLE001  # told beside the first, which is the one to mend
        other = diagnose(error).reason
        raise ExportError(f"{text}; the TorchScript exporter failed too ({other})") from cause
    return Traced(model, f"torch.onnx torchscript (dynamo: {failure.reason[:_SHOWN_REASON]})", fell_back=True)


def _export_dynamo(original: Original) -> onnx.ModelProto:
    spec = original.spec
    # Without this the second LSTM or GRU of a process keeps the kernel of the first export and fixes its length.
    for operator in (torch.ops.aten.lstm.input, torch.ops.aten.gru.input):
        getattr(operator, "_dispatch_cache", {}).clear()
    with quiet(), _recurrent_decompositions(), original.evaluating():
        program = torch.onnx.export(
            _exported(original),
            tuple(spec.inputs.values()),
            dynamo=True,
            dynamic_shapes=tuple(dict(axes) for axes in spec.axes.values()),
            input_names=list(spec.inputs),
            output_names=list(spec.outputs),
            opset_version=spec.opset,
            verbose=False,
        )
    if program is None:
        raise ExportError("this version of torch returned no ONNX program: install torch 2.9 or newer")
    model: onnx.ModelProto = program.model_proto
    return model


def _export_torchscript(original: Original) -> onnx.ModelProto:
    """By tracing one run: what forward decides in Python is fixed, which parity at other sizes brings to light."""
    spec = original.spec
    with tempfile.TemporaryDirectory(prefix="sluice-") as folder, quiet(), _closed_stdout(), original.evaluating():
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            _exported(original),
            tuple(spec.inputs.values()),
            path,
            dynamo=False,
            dynamic_axes={name: dict(axes) for name, axes in spec.axes.items()},
            input_names=list(spec.inputs),
            output_names=list(spec.outputs),
            opset_version=min(spec.opset, _NEWEST_TORCHSCRIPT_OPSET),
            verbose=False,
        )
        model = onnx.load_model(path)
        shapes = {name: output.shape for name, output in original.run_example().items()}
    for value in model.graph.output:
        _name_batch(value, shapes[value.name], spec)
    return model


def _exported(original: Original) -> torch.nn.Module:
    return original.module if original.spec.export_as is None else original.spec.export_as


def _name_batch(value: onnx.ValueInfoProto, shape: tuple[int, ...], spec: GraphSpec) -> None:
    """This exporter invents names for the free axes of outputs: a first one of the batch's size is the batch.

    Were it not, the shapes would differ from the original's at the other sizes of parity.
    """
    axes = value.type.tensor_type.shape.dim
    if axes and axes[0].dim_param and spec.batched and shape[0] == spec.example_sizes[BATCH]:
        axes[0].dim_param = BATCH


def _always_fixes_length(module: torch.nn.Module) -> bool:
    """nn.RNN is unrolled to the length of the example whatever forward does: that is the exporter's own fault."""
    return any(type(part) is torch.nn.RNN for part in module.modules())


@contextlib.contextmanager
def _recurrent_decompositions() -> Iterator[None]:
    """Keep the length of nn.LSTM and nn.GRU dynamic in the whole export, not only in its first pass."""
    with contextlib.ExitStack() as stack:
        for name in ("register_lstm_while_loop_decomposition", "register_gru_while_loop_decomposition"):
            stack.enter_context(getattr(patches, name, contextlib.nullcontext)())
        yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide what an exporter prints, warns and logs: what matters of it comes back as an error."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _closed_stdout() -> Iterator[None]:
    """Hide what the older exporter prints from C++ when it fails: the whole graph, whatever ``verbose`` says."""
    sys.stdout.flush()
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nothing)
