"""PyTorch -> ONNX: one graph, the same bytes every time, without traces of the machine that made it."""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator
from typing import Any

import onnx
import torch
import torch.export._patches as patches

from export.errors import ExportError
from export.original import Original
from export.spec import BATCH, GraphSpec
from model_store.datatypes import BY_DTYPE
from model_store.manifest import Graph, Tensor

_LARGEST_BYTES = 2**31 - 1  # what one protobuf message can hold
_RANDOM_OPS = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
_HINTS = (
    (r"static shape of|[Cc]onstraints violated|specialized", "forward fixes the size of that axis: take it from "
     "tensor.shape instead of a number, or leave the axis out of dynamic if it is meant to be fixed"),
    (r"data-dependent|GuardOnDataDependent|\.item\(\)", "forward decides in Python by the values of a tensor: use "
     "torch.where or torch.cond"),
    (r"structure of `inputs` and `dynamic_shapes`", "give forward one named tensor argument per input, no *args, lists "
     "or dictionaries"),
    (r"pack_padded_sequence", "packed sequences cannot be exported: mask the padding instead"),
    (r"No ONNX function found|DispatchError", "an operator has no ONNX form: replace it with simpler ones"),
)  # fmt: skip
_OTHERWISE = "change forward so that torch.export.export(module, inputs) takes it"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def export_graph(original: Original) -> onnx.ModelProto:
    """The module as an ONNX model, stripped and checked. Raises ExportError: the step, and what to change."""
    model = _trace(original)
    _strip(model)
    _check(original.spec, model)
    return model


def serialise(model: onnx.ModelProto) -> bytes:
    """The bytes of the file: the same for the same model. Raises ExportError above the 2 GB of one file."""
    if model.ByteSize() > _LARGEST_BYTES:
        raise ExportError(
            f"the graph has {model.ByteSize():,} bytes, one file holds {_LARGEST_BYTES:,}: use float16 weights"
        )
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def describe_graph(spec: GraphSpec, model: onnx.ModelProto, file: str) -> Graph:
    """The graph's tensors for the manifest. Raises ExportError where a tensor cannot be served in batches."""
    inputs = [_describe_tensor(value, spec) for value in model.graph.input]
    outputs = [_describe_tensor(value, spec) for value in model.graph.output]
    for tensor in outputs:
        if spec.batched and tensor.batch_axis is None:
            raise ExportError(
                f"{spec.name}: output {tensor.name!r} of shape {tensor.shape} has no row for each row of the input: "
                "return one row per example, with the batch on axis 0"
            )
    return Graph(file=file, inputs=tuple(inputs), outputs=tuple(outputs))


def opset_of(model: onnx.ModelProto) -> int:
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def _trace(original: Original) -> onnx.ModelProto:
    spec = original.spec
    # Without this the second LSTM or GRU of a process keeps the kernel of the first export and fixes its length.
    for operator in (torch.ops.aten.lstm.input, torch.ops.aten.gru.input):
        getattr(operator, "_dispatch_cache", {}).clear()
    try:
        with _quiet(), _recurrent_decompositions(), original.evaluating():
            program = torch.onnx.export(
                original.module if spec.export_as is None else spec.export_as,
                tuple(spec.inputs.values()),
                dynamo=True,
                dynamic_shapes=tuple(dict(axes) for axes in spec.axes.values()),
                input_names=list(spec.inputs),
                output_names=list(spec.outputs),
                opset_version=spec.opset,
                verbose=False,
            )
    except Exception as error:
        raise ExportError(_explain(spec, error)) from error
    if program is None:
        raise ExportError(f"{spec.name}: this version of torch returned no ONNX program: install torch 2.9 or newer")
    model: onnx.ModelProto = program.model_proto
    return model


def _explain(spec: GraphSpec, error: Exception) -> str:
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    whole = _COLOUR.sub("", f"{error}\n{root}")
    hint = next((hint for pattern, hint in _HINTS if re.search(pattern, whole)), _OTHERWISE)
    step = re.search(r"This is (step \d/\d)", whole)
    lines = [line.strip() for line in _COLOUR.sub("", str(root)).splitlines() if line.strip()]
    reason = " ".join(lines[:3])[:500]
    where = f"exporting to ONNX failed at {step[1]}" if step else "exporting to ONNX failed"
    return f"{spec.name}: {where} ({type(root).__name__}: {reason}): {hint}"


@contextlib.contextmanager
def _recurrent_decompositions() -> Iterator[None]:
    """Keep the length of nn.LSTM and nn.GRU dynamic in the whole export, not only in its first pass."""
    with contextlib.ExitStack() as stack:
        for name in ("register_lstm_while_loop_decomposition", "register_gru_while_loop_decomposition"):
            stack.enter_context(getattr(patches, name, contextlib.nullcontext)())
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the exporter prints, warns and logs: what matters of it comes back as an error."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                yield
    finally:
        logging.disable(before)


def _strip(model: onnx.ModelProto) -> None:
    """Remove source paths, lines of source code and inferred sizes, which may be wrong, at every depth."""
    del model.metadata_props[:]
    model.doc_string = ""
    _strip_graph(model.graph)
    for function in model.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        del function.value_info[:]
        _strip_nodes(function.node)


def _strip_graph(graph: onnx.GraphProto) -> None:
    del graph.value_info[:]
    del graph.metadata_props[:]
    graph.doc_string = ""
    for part in (*graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    _strip_nodes(graph.node)


def _strip_nodes(nodes: Any) -> None:
    for node in nodes:
        node.doc_string = ""
        del node.metadata_props[:]
        for attribute in node.attribute:
            attribute.doc_string = ""
            if attribute.HasField("g"):
                _strip_graph(attribute.g)
            for graph in attribute.graphs:
                _strip_graph(graph)


def _check(spec: GraphSpec, model: onnx.ModelProto) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        raise ExportError(f"{spec.name}: the exported graph is not valid ONNX ({error}): try another opset") from error
    for kind, expected, values in (
        ("inputs", list(spec.inputs), model.graph.input),
        ("outputs", list(spec.outputs), model.graph.output),
    ):
        got = [value.name for value in values]
        if got != expected:
            raise ExportError(
                f"{spec.name}: {kind} of the graph: expected {expected}, got {got}: name every tensor of forward"
            )
    drawn = sorted({node.op_type for node in _all_nodes(model.graph)} & _RANDOM_OPS)
    if drawn:
        raise ExportError(
            f"{spec.name}: the module draws random numbers inside the graph ({', '.join(drawn)}), which nobody could "
            "repeat: make the noise an input, or compute it from a seed that is one"
        )
    for value in model.graph.input:
        shape, axes = _shape_of(value), spec.axes[value.name]
        for axis, name in axes.items():
            if not isinstance(shape[axis], str):
                raise ExportError(
                    f"{spec.name}: axis {axis} ({name}) of input {value.name!r} came out fixed at {shape[axis]}: take "
                    "sizes from tensor.shape in forward"
                )


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _all_nodes(inner)


def _shape_of(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    dimensions = value.type.tensor_type.shape.dim
    return tuple(
        int(d.dim_value) if d.HasField("dim_value") else d.dim_param or f"{value.name}_{axis}"
        for axis, d in enumerate(dimensions)
    )


def _describe_tensor(value: onnx.ValueInfoProto, spec: GraphSpec) -> Tensor:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    datatype = BY_DTYPE.get(dtype)
    if datatype is None:
        raise ExportError(
            f"{spec.name}: {value.name!r} is of {dtype}, which cannot be served: cast it, such as to float32"
        )
    shape = _shape_of(value)
    batched = bool(shape) and shape[0] == BATCH
    return Tensor(
        name=value.name,
        datatype=datatype.name,
        shape=shape,
        batch_axis=0 if batched else None,
        finite=value.name in spec.finite,
    )
