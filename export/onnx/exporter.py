"""PyTorch to one ONNX graph: the same bytes every time, without traces of the machine that made it."""

from collections.abc import Mapping
from typing import Any

import onnx

from export.errors import ExportError, SpecError
from export.onnx.places import refuse_negative_places
from export.onnx.scores import trace_scores
from export.onnx.tracing import Traced
from export.onnx.weights import count_weights, without_weights
from export.original import Original
from export.spec import BATCH, GraphSpec
from model_store.datatypes import BY_DTYPE
from model_store.graph import Graph, Tensor
from model_store.rows import find_ranges
from model_store.rows.graph.inner import every_node

_RANDOM_OPS = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}

_CHECKED_WHOLE_BYTES = 2**26


def export_graph(original: Original, unfit: str | None = None) -> Traced:
    """The module as an ONNX model, stripped and checked. Raises ExportError with the failed step and what to change.

    ``unfit`` says why the newer exporter's graph is unusable; then the older exporter makes the graph.
    """
    traced = trace_scores(original, unfit)
    refuse_negative_places(original, traced.model)
    strip(traced.model)
    check_graph(original.spec, traced.model)
    _check_loose(original, traced.model)
    return traced


def describe_graph(spec: GraphSpec, model: onnx.ModelProto, file: str) -> Graph:
    """The graph's tensors for the manifest. Raises ExportError if a tensor cannot be served in batches."""
    ranges = {**find_ranges(model.graph), **spec.ranges}
    inputs = [_describe_tensor(value, spec, ranges) for value in model.graph.input]
    outputs = [_describe_tensor(value, spec, {}) for value in model.graph.output]
    for tensor in outputs:
        if spec.batched and tensor.batch_axis is None:
            raise ExportError(
                f"{spec.name}: output {tensor.name!r} of shape {tensor.shape} has no row for each row of the input: "
                "return one row for each example, on any axis, or leave the batch out of dynamic"
            )
    return Graph(file=file, inputs=tuple(inputs), outputs=tuple(outputs), max_rows=spec.max_rows)


def opset_of(model: onnx.ModelProto) -> int:
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def strip(model: onnx.ModelProto) -> None:
    """Remove source paths, source lines and inferred sizes (which may be wrong), at every depth."""
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


def check_graph(spec: GraphSpec, model: onnx.ModelProto) -> None:
    """Raise ExportError if the graph is not valid ONNX, does not fit the spec, or draws random numbers."""
    try:
        # The checker needs the model as one message, and copies it several times.
        small = count_weights(model) < _CHECKED_WHOLE_BYTES
        onnx.checker.check_model(model if small else without_weights(model), full_check=True)
    except Exception as error:
        advice = "cast to float32, by .float()" if "bfloat16" in str(error) else "try another opset"
        raise ExportError(f"{spec.name}: the exported graph is not valid ONNX ({error}): {advice}") from error
    for kind, expected, values in (
        ("inputs", list(spec.inputs), model.graph.input),
        ("outputs", list(spec.outputs), model.graph.output),
    ):
        got = [value.name for value in values]
        if got != expected:
            missing = [name for name in expected if name not in got] if kind == "inputs" else []
            advice = (
                f"forward does not use {', '.join(missing)}, or converts it (NumPy, .tolist(), numbers), which an "
                "export cannot follow: compute with torch's operators, and leave out unused inputs"
                if missing
                else "name every tensor of forward"
            )
            raise ExportError(f"{spec.name}: {kind} of the graph: expected {expected}, got {got}: {advice}")
    drawn = sorted({node.op_type for node in every_node(model.graph.node)} & _RANDOM_OPS)
    if drawn:
        raise ExportError(
            f"{spec.name}: the module draws random numbers ({', '.join(drawn)}) inside the graph, so answers could not "
            "be repeated: make the noise an input, or compute it from a seed that is an input"
        )
    for value in model.graph.input:
        shape, axes = _shape_of(value), spec.axes[value.name]
        for axis, name in axes.items():
            if not isinstance(shape[axis], str):
                raise ExportError(
                    f"{spec.name}: axis {axis} ({name}) of input {value.name!r} was exported with the fixed size "
                    f"{shape[axis]}: take sizes from tensor.shape in forward"
                )
            if shape[axis] != name:
                raise ExportError(
                    f"{spec.name}: axis {axis} ({name}) of input {value.name!r} was exported as {shape[axis]!r}: if "
                    "forward needs equal sizes, give both axes one name in dynamic; else give an example in which "
                    "they differ"
                )


def _check_loose(original: Original, model: onnx.ModelProto) -> None:
    """Raise SpecError if ``*args`` or ``**kwargs`` took an input that nothing uses, such as a misspelt one."""
    used = {name for node in every_node(model.graph.node) for name in node.input}
    for name in original.call.binding.loose:
        if name not in used:
            known = ", ".join(original.parameters)
            raise SpecError(
                f"{original.spec.name}: inputs: forward takes ({known}), but does not use {name!r}, which is none of "
                "these: name the inputs like forward's parameters, or leave it out"
            )


def _shape_of(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    dimensions = value.type.tensor_type.shape.dim
    return tuple(
        int(d.dim_value) if d.HasField("dim_value") else d.dim_param or f"{value.name}_{axis}"
        for axis, d in enumerate(dimensions)
    )


def _describe_tensor(value: onnx.ValueInfoProto, spec: GraphSpec, ranges: Mapping[str, tuple[int, int]]) -> Tensor:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    datatype = BY_DTYPE.get(dtype)
    if datatype is None:
        raise ExportError(
            f"{spec.name}: {value.name!r} has the datatype {dtype}, which cannot be served: cast it, for example to "
            "float32"
        )
    shape = _shape_of(value)
    least, largest = ranges.get(value.name, (None, None))
    return Tensor(
        name=value.name,
        datatype=datatype.name,
        shape=shape,
        batch_axis=shape.index(BATCH) if BATCH in shape else None,
        finite=value.name in spec.finite,
        least=least,
        largest=largest,
    )
