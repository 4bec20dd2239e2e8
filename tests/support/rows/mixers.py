"""Puts a node into a graph that lets rows meet, or lets them depend on their number."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_FLOATS = (
    "Add", "Sub", "Mul", "Div", "MatMul", "Gemm", "Conv", "ConvTranspose", "Relu", "Gelu", "Erf", "Tanh", "Sigmoid",
    "LayerNormalization", "BatchNormalization", "Softmax", "Reshape", "Transpose", "Concat", "Split", "Slice", "Where",
    "LSTM", "GRU", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize", "Unsqueeze", "Squeeze", "Flatten", "Clip",
)  # fmt: skip
"""Operators behind which floats that depend on the rows may lie."""

Nodes = Callable[[str, str, str, int], Sequence[onnx.NodeProto]]
"""Of (tensor, result, an input of the graph, opset): nodes that let rows meet."""


def find_places(model: onnx.ModelProto) -> list[str]:
    """Tensors behind which a node may be put."""
    return [name for node in model.graph.node if node.op_type in _FLOATS for name in node.output if name]


def mix(model: onnx.ModelProto, place: str, mixer: str) -> onnx.ModelProto:
    """A copy of the model, in which all that read the tensor ``place`` read it mixed."""
    mixed = onnx.ModelProto()
    mixed.CopyFrom(model)
    graph = mixed.graph
    opset = next(entry.version for entry in mixed.opset_import if entry.domain in ("", "ai.onnx"))
    at = next(at for at, node in enumerate(graph.node) if place in node.output)
    for node in graph.node:  # renames the tensor where it is made, so that its readers read the mixed one
        node.output[:] = ["before_mixing" if name == place else name for name in node.output]
    nodes = MIXERS[mixer]("before_mixing", place, graph.input[0].name, opset)
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*rest[: at + 1], *nodes, *rest[at + 1 :]])
    return mixed


def _add_mean(x: str, y: str, given: str, opset: int) -> Sequence[onnx.NodeProto]:
    axes = _constant("mixing_axes", np.array([0]))
    if opset >= 18:
        mean = helper.make_node("ReduceMean", [x, "mixing_axes"], ["mixing_mean"], keepdims=1)
    else:
        mean = helper.make_node("ReduceMean", [x], ["mixing_mean"], axes=[0], keepdims=1)
    return [axes, mean, helper.make_node("Add", [x, "mixing_mean"], [y])]


def _add_softmax(x: str, y: str, given: str, opset: int) -> Sequence[onnx.NodeProto]:
    softmax = helper.make_node("Softmax", [x], ["mixing_weights"], axis=0)
    return [softmax, helper.make_node("Mul", [x, "mixing_weights"], [y])]


def _add_reversed(x: str, y: str, given: str, opset: int) -> Sequence[onnx.NodeProto]:
    least = np.iinfo(np.int64).min
    constants = [
        _constant(f"mixing_{name}", np.array([value]))
        for name, value in (("starts", -1), ("ends", least), ("axes", 0), ("steps", -1))
    ]
    names = [x, "mixing_starts", "mixing_ends", "mixing_axes", "mixing_steps"]
    return [
        *constants,
        helper.make_node("Slice", names, ["mixing_reversed"]),
        helper.make_node("Add", [x, "mixing_reversed"], [y]),
    ]


def _add_first(x: str, y: str, given: str, opset: int) -> Sequence[onnx.NodeProto]:
    return [
        _constant("mixing_first", np.array([0])),
        helper.make_node("Gather", [x, "mixing_first"], ["mixing_row"], axis=0),
        helper.make_node("Add", [x, "mixing_row"], [y]),
    ]


def _add_up(x: str, y: str, given: str, opset: int) -> Sequence[onnx.NodeProto]:
    return [_constant("mixing_axis", np.array(0)), helper.make_node("CumSum", [x, "mixing_axis"], [y])]


def _multiply_by_rows(x: str, y: str, given: str, opset: int) -> Sequence[onnx.NodeProto]:
    """No rows meet, but how many they are changes them."""
    return [
        helper.make_node("Shape", [given], ["mixing_shape"]),
        _constant("mixing_zero", np.array(0)),
        helper.make_node("Gather", ["mixing_shape", "mixing_zero"], ["mixing_rows"]),
        helper.make_node("Cast", ["mixing_rows"], ["mixing_factor"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [x, "mixing_factor"], [y]),
    ]


def _add_greatest(x: str, y: str, given: str, opset: int) -> Sequence[onnx.NodeProto]:
    """One number of the whole tensor, as a quantiser takes it."""
    greatest = helper.make_node("ReduceMax", [x], ["mixing_greatest"], keepdims=0)
    return [greatest, helper.make_node("Add", [x, "mixing_greatest"], [y])]


def _constant(name: str, value: np.ndarray) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))


MIXERS: dict[str, Nodes] = {
    "mean": _add_mean,
    "softmax": _add_softmax,
    "reversed": _add_reversed,
    "first row": _add_first,
    "running sum": _add_up,
    "number of rows": _multiply_by_rows,
    "greatest": _add_greatest,
}
