"""Names the inputs, outputs and batch axis of an exported graph as the spec does."""

from collections.abc import Mapping

import onnx

from export.inputs import to_array
from export.original import Original
from export.spec import BATCH, GraphSpec
from model_store.rows.graph.inner import every_graph, every_node, graphs_of


def finish(original: Original, model: onnx.ModelProto) -> onnx.ModelProto:
    """The exporter's model with the names of the spec. The exporter keeps the order of inputs and outputs."""
    spec = original.spec
    if len(model.graph.input) == len(spec.inputs) and len(model.graph.output) == len(spec.outputs):
        _name_tensors(model.graph, list(spec.inputs), list(spec.outputs))
    for value in model.graph.output:
        _name_batch(value, original.output_axes)
    return model


def restore_inputs(spec: GraphSpec, graph: onnx.GraphProto) -> None:
    """Add back unused inputs, which the TorchScript exporter drops although forward takes them."""
    kept = {value.name: value for value in graph.input}
    for name, tensor in spec.inputs.items():
        if name not in kept:
            elements = onnx.helper.np_dtype_to_tensor_dtype(to_array(tensor).dtype)
            shape = [spec.axes[name].get(axis, size) for axis, size in enumerate(tensor.shape)]
            kept[name] = onnx.helper.make_tensor_value_info(name, elements, shape)
    inputs = [kept[name] for name in spec.inputs]
    del graph.input[:]
    graph.input.extend(inputs)


def _name_tensors(graph: onnx.GraphProto, inputs: list[str], outputs: list[str]) -> None:
    """Rename inputs and outputs. A weight or inner tensor of the same name gets another one."""
    made = {name for node in every_node(graph.node) for name in node.output}
    taken = made | {part.name for one in every_graph(graph) for part in (*one.input, *one.initializer)}
    new = {value.name: name for value, name in zip(graph.input, inputs, strict=True)}
    for value, name in zip(graph.output, outputs, strict=True):
        if value.name in new or value.name not in made:  # an input, a weight, or returned twice
            graph.node.append(onnx.helper.make_node("Identity", [value.name], [_find_free(name, taken | new.keys())]))
            value.name = graph.node[-1].output[0]
            taken.add(value.name)
        new[value.name] = name
    wanted = {*inputs, *outputs}
    for name in sorted(taken & wanted - new.keys()):
        new[name] = _find_free(name, taken | wanted)
        taken.add(new[name])
    _rename(graph, {old: name for old, name in new.items() if old != name})


def _find_free(name: str, taken: set[str]) -> str:
    return next(free for number in range(len(taken) + 1) if (free := f"{name}_{number}") not in taken)


def _rename(graph: onnx.GraphProto, new: Mapping[str, str]) -> None:
    """Rename at every depth: an inner graph sees the names around it and must not redefine one."""
    for part in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.name = new.get(part.name, part.name)
    for node in graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
        for inner in graphs_of(node):
            _rename(inner, new)


def _name_batch(value: onnx.ValueInfoProto, output_axes: Mapping[str, int]) -> None:
    """Name the batch axis of an output, if the exporter lost it and invented another name.

    Parity shows later whether the axis really has a row for each example.
    """
    axes = value.type.tensor_type.shape.dim
    named = any(axis.dim_param == BATCH for axis in axes)
    axis = output_axes.get(value.name)
    if not named and axis is not None and axis < len(axes) and axes[axis].dim_param:
        axes[axis].dim_param = BATCH
