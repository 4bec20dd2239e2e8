"""Runs torch's exporters: the newer one first, and the older one if the newer one has a fault of its own."""

import contextlib
import inspect
import io
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from keyword import iskeyword
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.export._patches as patches

from export.errors import ExportError, NotPublished, SpecError
from export.inputs import make_random
from export.onnx import recurrence
from export.onnx.decisions import refuse_decisions
from export.onnx.limits import Limits, watch_limits
from export.onnx.naming import finish, restore_inputs
from export.original import Original
from export.refusals.hints import diagnose
from export.runtime import Runtime
from export.spec import BATCH, GraphSpec

DYNAMO = f"torch.onnx dynamo, onnxscript {version('onnxscript')}"
_NEWEST_TORCHSCRIPT_OPSET = 20
_SHOWN_REASON = 300


@dataclass(frozen=True, slots=True)
class Traced:
    """A model as an exporter wrote it. ``exporter`` names the exporter and, if it is the older one, the reason."""

    model: onnx.ModelProto
    exporter: str
    fell_back: bool = False
    limits: Limits = field(default_factory=Limits)
    """The sizes for which the graph is right, as far as its exporter knows."""


def trace_module(original: Original, unfit: str | None = None) -> Traced:
    """The module as an ONNX model with named axes. Raises ExportError with the reason and what to change.

    ``unfit`` says why the newer exporter's graph is unusable; then the older exporter makes the graph.
    """
    if unfit is not None:
        return _trace_otherwise(original, unfit)
    spec = original.spec
    with original.evaluating():
        original.run_example()  # report what the model itself refuses before an exporter complains
    if original.is_exported:
        _ = original.output_axes  # and the sizes that a program was exported for
    if original.is_scripted:
        return _trace_script(original)
    with watch_limits(spec) as found:
        try:
            model = _export_dynamo(original)
            return Traced(model, DYNAMO, limits=found[-1] if found else Limits())
        except SpecError:
            raise
        except Exception as error:  # noqa: BLE001  # the diagnosis is raised or noted below
            failure, cause = diagnose(error), error
    step, place = (f" at {failure.step}" if failure.step else ""), (f" in {failure.place}" if failure.place else "")
    advice = f"{failure.hint.advice}{_suspect_rows(spec)}"
    text = f"{spec.name}: exporting to ONNX failed{step}{place} ({failure.reason}): {advice}"
    try:
        traced = _trace_otherwise(original, failure.reason)
    except NotPublished as error:  # reported beside the first one, which has to be fixed
        other = "" if failure.hint.own else f"; {str(error).removeprefix(f'{spec.name}: ')}"
        raise ExportError(f"{text}{other}") from cause
    if failure.hint.own and not _is_right_elsewhere(original, traced.model):
        raise ExportError(text) from cause
    # The limits hold for the older exporter's graph too: both trace the same branches.
    return replace(traced, limits=found[-1] if found else Limits())


def _trace_otherwise(original: Original, reason: str) -> Traced:
    try:
        model = _export_torchscript(original)
    except NotPublished:
        raise
    except Exception as error:
        raise ExportError(
            f"{original.spec.name}: the TorchScript exporter failed too ({diagnose(error).reason})"
        ) from error
    return Traced(model, f"torch.onnx torchscript (dynamo: {reason[:_SHOWN_REASON]})", fell_back=True)


def _is_right_elsewhere(original: Original, model: onnx.ModelProto) -> bool:
    """Whether the graph is right at other sizes, although the newer exporter reports that forward fixes them."""
    try:
        runtime = Runtime(model.SerializeToString())
        inputs, expected = next(_run_others(original))
        got = runtime.run(inputs)
    except (NotPublished, ValueError, StopIteration):  # the module refuses other sizes, or the graph is above 2 GB
        return False
    return all(expected[name].shape == got[name].shape for name in expected)


def _run_others(original: Original) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """Inputs whose free axes have other sizes than the example's, smaller or larger, with their outputs."""
    example = original.spec.example_sizes
    smaller = {name: size - 1 if size > 2 else size + 1 for name, size in example.items()}
    for sizes in (smaller, {name: size + 1 for name, size in example.items()}):
        try:
            inputs = make_random(original.spec, sizes, seed=0)
            with original.evaluating():
                yield inputs, original.run(inputs)
        except SpecError:
            continue


def _suspect_rows(spec: GraphSpec) -> str:
    """A hint if an input without a named batch axis may have rows after all, which would fix their number."""
    rows = spec.example_sizes.get(BATCH)
    shared = [name for name, tensor in spec.inputs.items() if not spec.axes[name] and rows in tensor.shape[:1]]
    return f" (dynamic names no axis of {', '.join(shared)}: name the batch there too if it has one)" if shared else ""


def _trace_script(original: Original) -> Traced:
    """Export TorchScript by the older exporter, which keeps its control flow; the newer one does not accept it."""
    try:
        return Traced(_export_torchscript(original), "torch.onnx torchscript")
    except Exception as error:
        failure = diagnose(error)
        raise ExportError(
            f"{original.spec.name}: exporting TorchScript to ONNX failed ({failure.reason}): give the module from "
            "which it was made, if there is one"
        ) from error


def _export_dynamo(original: Original) -> onnx.ModelProto:
    spec = original.spec
    # Without this the second LSTM or GRU of a process keeps the kernel of the first export and fixes its length.
    for operator in (torch.ops.aten.lstm.input, torch.ops.aten.gru.input):
        getattr(operator, "_dispatch_cache", {}).clear()
    with quiet(), _recurrent_decompositions(), recurrence.keep_whole(), original.evaluating():
        program = torch.onnx.export(
            _name_parameters(_exported(original), list(spec.inputs)),
            tuple(spec.inputs.values()),
            dynamo=True,
            dynamic_shapes=tuple(dict(axes) for axes in spec.axes.values()),
            opset_version=spec.opset,
            custom_translation_table=recurrence.translations(),
            verbose=False,
        )
    if program is None:
        raise ExportError("this version of torch returned no ONNX program: install torch 2.9 or newer")
    return finish(original, program.model_proto)


def _export_torchscript(original: Original) -> onnx.ModelProto:
    """Export by tracing one run. Raises ExportError if that would fix a decision of forward."""
    spec = original.spec
    with quiet(), original.evaluating():
        _refuse_decisions(original)
    with tempfile.TemporaryDirectory(prefix="sluice-") as folder, quiet(), _closed_stdout(), original.evaluating():
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            _script(original) if original.is_scripted else _exported(original),
            tuple(spec.inputs.values()),
            path,
            dynamo=False,
            dynamic_axes={name: dict(axes) for name, axes in spec.axes.items()},
            input_names=list(spec.inputs),
            opset_version=min(spec.opset, _NEWEST_TORCHSCRIPT_OPSET),
            verbose=False,
        )
        model = onnx.load_model(path)
    restore_inputs(spec, model.graph)
    return finish(original, model)


def _exported(original: Original) -> torch.nn.Module:
    return original.call if original.spec.export_as is None else original.spec.export_as


def _script(original: Original) -> torch.nn.Module:
    """A TorchScript caller, because TorchScript keeps its branches and loops only if TorchScript calls it."""
    trace: Any = torch.jit.trace
    scripted: torch.nn.Module = trace(_exported(original), tuple(original.inputs.values()), check_trace=False)
    return scripted


def _name_parameters(module: torch.nn.Module, names: list[str]) -> torch.nn.Module:
    """The module with parameters named like the inputs, as far as Python allows, for torch's messages."""
    names = [re.sub(r"\W", "_", name) for name in names]
    if len(set(names)) < len(names) or not all(name.isidentifier() and not iskeyword(name) for name in names):
        names = [f"input_{number}" for number in range(len(names))]

    class Named(torch.nn.Module):
        module: torch.nn.Module

        def forward(self, *tensors: torch.Tensor) -> object:
            return self.module(*tensors)

    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", *names)]
    Named.forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    named = Named()
    named.module = module
    return named


def _refuse_decisions(original: Original) -> None:
    module, spec = _exported(original), original.spec
    if original.is_scripted:
        return  # its decisions are part of its graph
    inputs, _ = next(_run_others(original), (None, None))
    other = None if inputs is None else tuple(torch.from_numpy(array) for array in inputs.values())
    refuse_decisions(spec.name, module, tuple(spec.inputs.values()), other)


@contextlib.contextmanager
def _recurrent_decompositions() -> Iterator[None]:
    """Keep the length of nn.LSTM and nn.GRU dynamic in the whole export, not only in its first pass."""
    with contextlib.ExitStack() as stack:
        for name in ("register_lstm_while_loop_decomposition", "register_gru_while_loop_decomposition"):
            stack.enter_context(getattr(patches, name, contextlib.nullcontext)())
        yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide everything that an exporter prints, warns and logs. Failures are raised as errors."""
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
    """Hide the graph that the older exporter prints from C++ when it fails, whatever ``verbose`` says."""
    sys.stdout.flush()
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nothing)
